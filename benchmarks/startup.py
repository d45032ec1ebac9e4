"""How soon a program trains: import time, and the time to the first finished training step.

Run as `python -m benchmarks.startup`. Each figure is a process of its own; contenders take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.models import Benchmark, training
from benchmarks.sequences import gpt
from benchmarks.vision import resnet

DEEP: dict[str, Benchmark] = {
    "GPT (12 x 128, T = 128, batch 8)": training(lambda: gpt(blocks=12)),
    "ResNet-34 (CIFAR, batch 4)": training(lambda: resnet((3, 4, 6, 3), batch=4)),
}


def first_step(name: str, who: str) -> None:
    """Print the seconds from a built model to its first finished training step."""
    from benchmarks.__main__ import contender

    step = contender(DEEP[name], who)
    start = time.perf_counter()
    step()
    print(time.perf_counter() - start)


def _alone(code: str, cache: str) -> float:
    environment = {**os.environ, "FUNTORCH_CACHE": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return float(done.stdout.strip().splitlines()[-1])


def import_seconds(module: str) -> float:
    """Seconds that a fresh process takes to import a module."""
    return _alone(
        f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)",
        "0",
    )


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    modules = ("funtorch", "torch", "jax")
    seen: dict[str, list[float]] = {module: [] for module in modules}
    for module in modules:
        import_seconds(module)  # so that all find their bytecode and their files cached
    for _ in range(args.rounds):
        for module in modules:
            seen[module].append(import_seconds(module))
    for module in modules:
        print(f"import {module:10} {statistics.median(seen[module]):6.2f} s")
    print(f"\n{'first finished step, s':36}{'cold':>10}{'warm':>10}{'jax':>10}{'torch':>10}")
    for name in DEEP:
        rows: dict[str, list[float]] = {"cold": [], "warm": [], "jax": [], "torch": []}
        for _ in range(max(1, args.rounds // 2)):
            with tempfile.TemporaryDirectory() as cache:
                for label, who in zip(rows, ("funtorch", "funtorch", "jax", "torch"), strict=True):
                    code = (
                        f"from benchmarks.startup import first_step; first_step({name!r}, {who!r})"
                    )
                    rows[label].append(_alone(code, cache))
        print(f"{name:36}{''.join(f'{statistics.median(r):10.2f}' for r in rows.values())}")


if __name__ == "__main__":
    main()
