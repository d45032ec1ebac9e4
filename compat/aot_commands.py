"""`funtorch compile`, `funtorch inspect`, `funtorch bench`: artifacts on the command line."""

from __future__ import annotations

import argparse
import importlib
import inspect as python_inspect
import os
import re
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from funtorch.compat import torch_alias
from funtorch.lowering import aot, native

import funtorch
from funtorch.export import (
    ArtifactError,
    Dim,
    ShapeError,
    add_executables,
    add_fixed,
    export,
    save,
)
from funtorch.export.artifact import Artifact, Leaf, Stored, read, read_manifest
from funtorch.export.runtime import structs_at

_INPUT = re.compile(r"^(\w+)=(\w+)\[([^\]]*)\]$")


def add_to(commands: Any) -> None:
    """Add the three commands to a parser's subcommands."""
    made = commands.add_parser("compile", help="a model as a program that needs no Python source")
    made.add_argument("model", help="FILE.py:NAME, a module or a function that returns one")
    made.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=DTYPE[DIMS]",
        help="e.g. 'x=float32[batch,3,224,224]'; a word is a dimension of any size",
    )
    made.add_argument(
        "--dim", action="append", default=[], metavar="NAME=MIN:MAX", help="a dimension's range"
    )
    made.add_argument("--train", action="store_true", help="in training mode")
    made.add_argument(
        "--exec",
        action="append",
        nargs="?",
        const="",
        default=[],
        metavar="NAME=SIZE,...",
        help="put an executable for this machine into the file, at these sizes of open dimensions",
    )
    made.add_argument(
        "--fixed",
        action="append",
        default=[],
        metavar="NAME=SIZE,...",
        help="for C++: the program at these sizes of open dimensions too",
    )
    made.add_argument("--onnx", action="store_true", help="put the model as ONNX into it too")
    made.add_argument("--isa", help="newest instruction set of executables, e.g. AVX2")
    made.add_argument("-o", "--output", required=True)
    made.set_defaults(action=compile_model)
    shown = commands.add_parser("inspect", help="what an artifact holds")
    shown.add_argument("file")
    shown.add_argument("--stablehlo", metavar="PROGRAM", help="print a program")
    shown.set_defaults(action=inspect_file)
    timed = commands.add_parser("bench", help="how long an artifact's programs take")
    timed.add_argument("file")
    timed.add_argument("--size", type=int, default=8, help="of each open dimension")
    timed.add_argument("--runs", type=int, default=20)
    timed.set_defaults(action=bench_file)


def run(args: argparse.Namespace) -> int:
    """Run one of the commands; errors become one line."""
    try:
        return int(args.action(args))
    except (ArtifactError, ShapeError, FileNotFoundError, ValueError) as error:
        print(f"funtorch {args.command}: {error}", file=sys.stderr)
        return 1


# compile ----------------------------------------------------------------------------------------


def compile_model(args: argparse.Namespace) -> int:
    """`funtorch compile model.py:build --input 'x=float32[batch,3]' -o model.ftpkg`"""
    if args.isa:  # XLA reads this once, when the first array is made
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa={args.isa}"
    model = _model(args.model)
    model.train(args.train)
    ranges = dict(_range(text) for text in args.dim)
    dims: dict[str, Dim] = {}
    inputs, shapes = {}, {}
    for text in args.input:
        name, tensor, axes = _example(text, ranges, dims)
        inputs[name], shapes[name] = tensor, axes
    try:
        bound = python_inspect.signature(model.forward).bind(**inputs)
    except TypeError as error:
        raise ValueError(f"--input does not fit {type(model).__name__}.forward: {error}") from error
    start = time.perf_counter()
    program = export(model, bound.args, bound.kwargs, dynamic_shapes=shapes)
    save(program, args.output)
    for sizes in args.fixed:
        resized = {n: _sized(t, shapes[n], _sizes(sizes)) for n, t in inputs.items()}
        bound = python_inspect.signature(model.forward).bind(**resized)
        add_fixed(args.output, export(model, bound.args, bound.kwargs))
    if args.onnx:
        importlib.import_module("funtorch.onnx").add_onnx(program, args.output)
    for sizes in args.exec:
        for name, reason in add_executables(args.output, _sizes(sizes)).items():
            print(f"no executable of {name}: {reason}", file=sys.stderr)
    seconds = time.perf_counter() - start
    size = Path(args.output).stat().st_size
    print(f"{args.output}: {size:,} bytes in {seconds:.2f} s")
    print(program)
    return 0


def _model(text: str) -> Any:
    path, _, name = text.rpartition(":")
    if not path:
        raise ValueError(f"{text!r}: expected FILE.py:NAME")
    torch_alias.install()
    sys.path.insert(0, str(Path(path).resolve().parent))
    found = runpy.run_path(path)
    if name not in found:
        raise ValueError(f"{path} has no {name!r}")
    made = found[name]
    made = made if isinstance(made, funtorch.nn.Module) else made()
    if not isinstance(made, funtorch.nn.Module):
        raise ValueError(f"{text} is no module and returns none, but {type(made).__name__}")
    return made


def _sized(tensor: Any, axes: dict[int, Dim], sizes: dict[str, int]) -> Any:
    shape = list(tensor.shape)
    for axis, dim in axes.items():
        if dim.__name__ not in sizes:
            raise ValueError(f"--fixed needs a size for {dim.__name__}")
        shape[axis] = sizes[dim.__name__]
    return funtorch.zeros(shape, dtype=tensor.dtype)


def _sizes(text: str) -> dict[str, int]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(name.isidentifier() and size.isdigit() for name, _, size in pairs):
        raise ValueError(f"{text!r}: expected NAME=SIZE,...")
    return {name: int(size) for name, _, size in pairs}


def _range(text: str) -> tuple[str, tuple[int | None, int | None]]:
    name, _, bounds = text.partition("=")
    low, _, high = bounds.partition(":")
    return name, (int(low) if low else None, int(high) if high else None)


def _example(text: str, ranges: dict[str, Any], dims: dict[str, Dim]) -> tuple[str, Any, Any]:
    match = _INPUT.match(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"--input {text!r}: expected NAME=DTYPE[DIMS]")
    name, kind, inner = match.groups()
    dtype = getattr(funtorch, kind, None)
    if not isinstance(dtype, funtorch.dtype):
        raise ValueError(f"--input {text!r}: there is no dtype {kind!r}")
    shape: list[int] = []
    axes: dict[int, Dim] = {}
    for axis, entry in enumerate(part for part in inner.split(",") if part):
        if entry.isdigit():
            shape.append(int(entry))
            continue
        low, high = ranges.get(entry, (None, None))
        dim = axes[axis] = dims.setdefault(entry, Dim(entry, min=low, max=high))
        shape.append(max(dim.min, 2))
    return name, funtorch.zeros(shape, dtype=dtype), axes


# inspect ----------------------------------------------------------------------------------------


def _shown(leaf: Leaf) -> str:
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"


def inspect_file(args: argparse.Namespace) -> int:
    """`funtorch inspect model.ftpkg`"""
    manifest = read_manifest(args.file)
    found = read(args.file)
    if args.stablehlo:
        if args.stablehlo not in found.programs:
            raise ValueError(f"programs are {', '.join(found.programs)}")
        print(aot.text(aot.from_bytes(found.programs[args.stablehlo].jaxexport)))
        return 0
    size = Path(args.file).stat().st_size
    held = sum(a.nbytes for a in found.arrays.values())
    print(f"{args.file}: {manifest['kind']}, format {manifest['version']}, {manifest['writer']}")
    print(f"{size:,} bytes, of which {held:,} are {len(found.arrays)} arrays")
    for name, stored in found.programs.items():
        _inspect_program(name, stored)
    return 0


def _inspect_program(name: str, stored: Stored) -> None:
    own = stored.signature
    print(f"\n{name} for {', '.join(own.platforms)}, {len(stored.jaxexport):,} bytes")
    for dim, (low, high) in own.dims.items():
        print(f"  dimension {dim}: {low} to {high if high is not None else 'any'}")
    for side, leaves in (("in", own.inputs), ("out", own.outputs)):
        for leaf in leaves:
            print(f"  {side:3} {leaf.role:9} {leaf.name}: {_shown(leaf)}")
    ops = ", ".join(f"{n} {op}" for op, n in sorted(own.ops.items(), key=lambda e: -e[1]))
    sizes = dict.fromkeys(own.dims, 1) | {n: low or 1 for n, (low, _) in own.dims.items()}
    flops = aot.flops(aot.from_bytes(stored.jaxexport), structs_at(own, sizes))
    at = f" at {', '.join(f'{n} = {s}' for n, s in sizes.items())}" if sizes else ""
    print(f"  ops: {ops}")
    if flops is not None:
        print(f"  FLOPs: {flops:,.0f}{at}")
    for form in stored.fixed:
        at = ", ".join(f"{n} = {s}" for n, s in form.sizes.items())
        print(f"  fixed at {at}: {len(form.vhlo):,} bytes")
    if stored.onnx is not None:
        print(f"  ONNX: {len(stored.onnx):,} bytes beside the weights")
    for code in stored.executables:
        at = f" at {', '.join(f'{n} = {s}' for n, s in code.sizes.items())}" if code.sizes else ""
        why = native.unfit(code.target)
        state = "loads here" if why is None else f"ignored here: {why}"
        kind = ", ".join(code.target[k] for k in ("platform", "arch", "runtime"))
        print(f"  executable{at}: {len(code.data):,} bytes for {kind}; {state}")


# bench ------------------------------------------------------------------------------------------


def bench_file(args: argparse.Namespace) -> int:
    """`funtorch bench model.ftpkg`"""
    start = time.perf_counter()
    found = read(args.file)
    print(f"read: {(time.perf_counter() - start) * 1e3:.1f} ms")
    for name, stored in found.programs.items():
        _bench_program(name, found, stored, args.size, args.runs)
    return 0


def _bench_program(name: str, found: Artifact, stored: Stored, size: int, runs: int) -> None:
    made = aot.from_bytes(stored.jaxexport)
    dims = stored.signature.dims
    sizes = {n: min(max(size, low or 1), high or size) for n, (low, high) in dims.items()}
    first, each = aot.timed(made, structs_at(stored.signature, sizes), runs)
    at = f" at {', '.join(f'{n} = {s}' for n, s in sizes.items())}" if sizes else ""
    print(f"{name}{at}: ready after {first * 1e3:.0f} ms, a call {each * 1e3:.3f} ms")
