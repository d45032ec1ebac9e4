"""Prints a table of ratios (above 1: funtorch is faster) and, with --json, writes the figures."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import funtorch
from benchmarks.models import MODELS, jax_step, torch_step
from benchmarks.recording import microseconds_per_op
from benchmarks.timing import medians


def real_torch() -> Any:
    """Real PyTorch, if it is installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def measure(name: str, rounds: int) -> dict[str, float]:
    """Median seconds per training step of one model, for each contender."""
    builder, per_round = MODELS[name]
    build, by_hand, x, y = builder()
    contenders = {}
    for label, lib in (("funtorch", funtorch), ("torch", real_torch())):
        if lib is not None:
            lib.manual_seed(0)
            inputs, targets = lib.tensor(x), lib.tensor(y)
            contenders[label] = torch_step(lib, build(lib), inputs, targets)
    contenders["jax"] = jax_step(*by_hand(), x, y)
    return medians(contenders, rounds, per_round)


def peak_memory(name: str, who: str) -> float:
    """Peak resident MiB of a process that trains a model ten steps."""
    code = f"from benchmarks.__main__ import train_alone; train_alone({name!r}, {who!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def train_alone(name: str, who: str) -> None:
    """Train ten steps with one contender and print this process's peak memory in MiB."""
    build, by_hand, x, y = MODELS[name][0]()
    if who == "jax":
        step = jax_step(*by_hand(), x, y)
    else:
        lib = funtorch if who == "funtorch" else real_torch()
        step = torch_step(lib, build(lib), lib.tensor(x), lib.tensor(y))
    for _ in range(10):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", help="only models whose name contains this")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--no-memory", action="store_true", help="skip the memory runs")
    args = parser.parse_args()
    torch = real_torch()
    figures: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "machine": platform.machine(),
        "steps": {},
        "record": {},
    }
    print(
        f"{figures['device']}, jax {jax.__version__}, PyTorch "
        f"{torch.__version__ if torch else 'not installed'}"
    )
    for taped in (False, True):
        own = microseconds_per_op(funtorch, taped=taped)
        theirs = microseconds_per_op(torch, taped=taped) if torch else float("nan")
        figures["record"]["taped" if taped else "plain"] = {"funtorch": own, "torch": theirs}
        print(
            f"recording an op{' on the tape' if taped else ''}: {own:.2f} µs "
            f"(PyTorch runs it in {theirs:.2f} µs)"
        )
    print(f"\n{'training step':32} {'ms':>9} {'vs torch':>9} {'vs jax':>9}   peak MiB")
    for name in MODELS:
        if args.only and args.only not in name:
            continue
        row: dict[str, Any] = measure(name, args.rounds)
        own = row["funtorch"]
        against = [f"{row[k] / own:9.2f}" if k in row else "        -" for k in ("torch", "jax")]
        memory = {} if args.no_memory else {k: round(peak_memory(name, k)) for k in row}
        shown = ", ".join(f"{k} {v}" for k, v in memory.items())
        print(f"{name:32} {own * 1e3:9.3f} {against[0]} {against[1]}   {shown}")
        figures["steps"][name] = {"seconds": row, "peak_mib": memory}
    if args.json:
        part = args.json.with_suffix(".part")
        part.write_text(json.dumps(figures, indent=1))
        part.replace(args.json)


if __name__ == "__main__":
    main()
