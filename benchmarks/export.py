"""Programs ahead of time: `python -m benchmarks --tables export`.

What a start costs is measured in fresh processes, without funtorch's cache of executables; contenders
take turns and medians count.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import funtorch
from benchmarks.models import cnn
from benchmarks.resnet import resnet18
from benchmarks.timing import medians
from funtorch.export import add_executables, export_step, load_step

BATCH = 32
ROOT = Path(__file__).resolve().parents[1]
Figures = dict[str, float]


def model_and_inputs(lib: Any) -> tuple[Any, Any, Any]:
    """The small convolutional network of `benchmarks.models`, a batch and its classes."""
    build, _, x, y = cnn(BATCH)
    lib.manual_seed(0)
    return build(lib), lib.tensor(x), lib.tensor(y)


# Each of these runs in a process of its own and prints its seconds -------------------------------


def alone_export(path: str) -> None:
    """Export, compile and write; an executable is part of the file."""
    model, x, _ = model_and_inputs(funtorch)
    start = time.perf_counter()
    funtorch.export.save(funtorch.export.export(model.eval(), (x,)), path)
    add_executables(path)
    print(time.perf_counter() - start)


def alone_inductor(path: str) -> None:
    """The same with PyTorch: torch.export and AOTInductor."""
    import torch

    model, x, _ = model_and_inputs(torch)
    start = time.perf_counter()
    with torch.no_grad():
        program = torch.export.export(model.eval(), (x,))
        torch._inductor.aoti_compile_and_package(program, package_path=path)
    print(time.perf_counter() - start)


def alone_load(path: str) -> None:
    """Load an artifact, and call it once."""
    _, x, _ = model_and_inputs(funtorch)
    x.sum().item()
    start = time.perf_counter()
    net = funtorch.export.load(path).module()
    loaded = time.perf_counter()
    with funtorch.no_grad():
        net(x).numpy()
    print(loaded - start, time.perf_counter() - loaded)


def alone_steps(path: str) -> None:
    """Median seconds of a training step, its loss read each time."""
    _, x, t = model_and_inputs(funtorch)
    step = load_step(path)
    print(medians({"": lambda: step(x, t).item()}, 20, 1)[""])


def printed(name: str, *arguments: Any) -> list[float]:
    """What `alone_...` prints in a fresh process."""
    code = f"from benchmarks.export import {name}; {name}(*{[str(a) for a in arguments]!r})"
    env = {**os.environ, "FUNTORCH_CACHE": "0", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=env
    )
    return [float(word) for word in done.stdout.split()]


# Tables -----------------------------------------------------------------------------------------


def turns(contenders: dict[str, Callable[[], float]], rounds: int) -> Figures:
    """Median of what each contender reports; they take turns."""
    seen: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seen[name].append(contender())
    return {name: statistics.median(times) for name, times in seen.items()}


def exporting(folder: Path, rounds: int) -> Figures:
    """Model to a compiled file, against AOTInductor where it can be run."""
    contenders = {"export and compile": lambda: printed("alone_export", folder / "net.ftpkg")[0]}
    if importlib.util.find_spec("torch") and shutil.which("g++"):
        contenders["AOTInductor"] = lambda: printed("alone_inductor", folder / "net.pt2")[0]
    return turns(contenders, rounds)


def starting(folder: Path, rounds: int) -> Figures:
    """Load and first call, with and without an executable in the file."""
    model, x, _ = model_and_inputs(funtorch)
    plain, ready = folder / "plain.ftpkg", folder / "ready.ftpkg"
    funtorch.export.save(funtorch.export.export(model.eval(), (x,)), plain)
    shutil.copy(plain, ready)
    add_executables(ready)
    seen: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, path in (("from the program", plain), ("from an executable", ready)):
            load, first = printed("alone_load", path)
            seen.setdefault("load", []).append(load)
            seen.setdefault(f"first call {name}", []).append(first)
    return {name: statistics.median(times) for name, times in seen.items()}


def calling(folder: Path, rounds: int) -> Figures:
    """One call in a process that is warm."""
    import jax

    model, x, _ = model_and_inputs(funtorch)
    model.eval()
    fast = funtorch.compile(model)
    pure, params = funtorch.to_jax(model)
    jitted, array = jax.jit(pure), jax.numpy.asarray(x)
    loaded = {
        name: funtorch.export.load(folder / f"{name}.ftpkg").module() for name in ("plain", "ready")
    }
    with funtorch.no_grad():
        return medians(
            {
                "call: jax.jit": lambda: np.asarray(jitted(params, array)),
                "call: loaded": lambda: loaded["plain"](x).numpy(),
                "call: loaded, executable": lambda: loaded["ready"](x).numpy(),
                "call: module": lambda: model(x).numpy(),
                "call: torch.compile": lambda: fast(x).numpy(),
            },
            rounds,
            10,
        )


def stepping(folder: Path, rounds: int) -> Figures:
    """A training step from C++ and from Python, out of the same file."""
    found = importlib.util.find_spec("xla_plugins")
    model, x, t = model_and_inputs(funtorch)
    optimizer = funtorch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = funtorch.nn.functional.cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    step(x, t)
    path = folder / "train.ftpkg"
    export_step(step, (x, t), model=model, optimizer=optimizer).save(path)
    contenders = {"step in Python": lambda: printed("alone_steps", path)[0]}
    if found and found.submodule_search_locations and shutil.which("g++"):
        plugin = Path(found.submodule_search_locations[0]) / "xla_cpu_pjrt"
        program = folder / "steps"
        include = ["-I", ROOT / "lowering" / "cpp", "-I", plugin / "include"]
        source = ROOT / "benchmarks" / "steps.cpp"
        subprocess.run(
            ["g++", "-std=c++17", "-O2", *include, source, "-o", program, "-ldl"], check=True
        )
        command = [program, path, plugin / "xla_cpu_pjrt.so", "20"]
        contenders["step in C++"] = lambda: float(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )
    return turns(contenders, rounds)


def inference(rounds: int) -> Figures:
    """ResNet-18 at batch 1."""
    contenders = {}
    real = [importlib.import_module("torch")] if importlib.util.find_spec("torch") else []
    for lib in (funtorch, *real):
        lib.manual_seed(0)
        model, x = resnet18(lib).eval(), lib.ones(1, 3, 224, 224)
        label = "funtorch, XLA" if lib is funtorch else "PyTorch"
        contenders[f"ResNet-18: {label}"] = lambda model=model, x=x: model(x).detach().numpy()
        if lib is funtorch and importlib.util.find_spec("onnxruntime"):
            fast = funtorch.compile(model, backend="onnxruntime")
            contenders["ResNet-18: onnxruntime"] = lambda fast=fast, x=x: fast(x).numpy()
    with funtorch.no_grad():
        return medians(contenders, rounds, 1)


def report(rounds: int) -> dict[str, Figures]:
    """Measure everything and print it."""
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, work in (
            ("ready", lambda: starting(folder, rounds)),
            ("calls", lambda: calling(folder, rounds)),
            ("steps", lambda: stepping(folder, rounds)),
            ("export", lambda: exporting(folder, max(rounds // 5, 1))),
            ("inference", lambda: inference(rounds)),
        ):
            figures[part] = work()
            for row, seconds in figures[part].items():
                print(f"{row:40} {seconds * 1e3:10.2f} ms", flush=True)
    return figures
