"""Prints tables of ratios (above 1: funtorch is faster) and, with --json, writes the figures."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import funtorch
from benchmarks import export
from benchmarks.models import FORWARD, STEPS, Benchmark
from benchmarks.recording import microseconds_per_op
from benchmarks.timing import medians

PEERS = ("torch", "inductor", "jax", "compiled")
"""Beside funtorch as it is: PyTorch eager, its torch.compile, JAX by hand, funtorch's torch.compile."""


def real_torch() -> Any:
    """Real PyTorch, if it is installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def contender(benchmark: Benchmark, who: str) -> Callable[[], Any]:
    """The step of one contender."""
    if who == "jax":
        return benchmark.jax()
    lib = funtorch if who in ("funtorch", "compiled") else real_torch()
    prepare = lib.compile if who in ("inductor", "compiled") else lambda model: model
    return benchmark.torch(lib, prepare)


def measure(benchmark: Benchmark, peers: list[str], rounds: int, steps: int) -> dict[str, float]:
    """Median seconds per step for each contender."""
    contenders = {who: contender(benchmark, who) for who in ["funtorch", *peers]}
    return medians(contenders, rounds, steps)


def peak_memory(name: str, who: str) -> float:
    """MiB by which a process grows at most while it trains a model, compilation left out."""
    code = f"from benchmarks.__main__ import train_alone; train_alone({name!r}, {who!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def train_alone(name: str, who: str) -> None:
    """Train with one contender until nothing compiles, then ten steps; print their peak in MiB."""
    if who in ("torch", "inductor"):
        real_torch()  # what a package takes by itself does not count
    before = _kept("VmRSS")
    step = contender(STEPS[name][0], who)
    for pause in (0, 0, 0, 5, 0, 0):  # the fourth step finds what was compiled in the background
        time.sleep(pause)
        step()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts from here
    for _ in range(10):
        step()
    print(_kept("VmHWM") - before)


def _kept(what: str) -> float:
    """A line of Linux's account of this process's memory, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def geometric_means(rows: dict[str, dict[str, float]], peers: list[str]) -> dict[str, float]:
    """Of the ratios to each peer."""
    return {
        peer: statistics.geometric_mean(row[peer] / row["funtorch"] for row in rows.values())
        for peer in peers
    }


def table(
    title: str, benchmarks: dict[str, tuple[Benchmark, int]], args: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Measure and print one table."""
    chosen = {n: b for n, b in benchmarks.items() if not args.only or args.only in n}
    heads = "".join(f"{'vs ' + peer:>12}" for peer in args.peers)
    print(f"\n{title:36}{'ms':>10}{heads}", flush=True)
    rows: dict[str, dict[str, float]] = {}
    for name, (benchmark, steps) in chosen.items():
        row = rows[name] = measure(benchmark, args.peers, args.rounds, steps)
        own = row["funtorch"]
        ratios = "".join(f"{row[peer] / own:12.2f}" for peer in args.peers)
        print(f"{name:36}{own * 1e3:10.3f}{ratios}", flush=True)
    if len(rows) > 1:
        means = geometric_means(rows, args.peers).values()
        print(f"{'geometric mean':46}{''.join(f'{mean:12.2f}' for mean in means)}")
    return rows


def recording() -> dict[str, dict[str, float]]:
    """Measure and print the cost of recording."""
    torch = real_torch()
    figures = {}
    for taped in (False, True):
        own = microseconds_per_op(funtorch, taped=taped)
        theirs = microseconds_per_op(torch, taped=taped) if torch else float("nan")
        figures["taped" if taped else "plain"] = {"funtorch": own, "torch": theirs}
        print(
            f"recording an op{' on the tape' if taped else ''}: {own:.2f} µs "
            f"(PyTorch runs it in {theirs:.2f} µs)"
        )
    return figures


def memory(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure and print the peak memory of processes that train."""
    peers = ["funtorch", *args.peers]
    print(f"\n{'peak MiB of a process that trains':36}{''.join(f'{p:>12}' for p in peers)}")
    rows = {}
    for name in STEPS:
        if args.only and args.only not in name:
            continue
        rows[name] = {who: peak_memory(name, who) for who in peers}
        print(f"{name:36}{''.join(f'{m:12.0f}' for m in rows[name].values())}", flush=True)
    return rows


def compare(figures: dict[str, Any], reference: dict[str, Any]) -> None:
    """Print each ratio beside that of an earlier run."""
    print(f"\n{'ratios now and in the reference':46}")
    for kind in ("steps", "forward"):
        for name, row in figures.get(kind, {}).items():
            before = reference.get(kind, {}).get(name, {})
            shown = [
                f"{peer} {row[peer] / row['funtorch']:.2f} ({before[peer] / before['funtorch']:.2f})"
                for peer in row
                if peer != "funtorch" and peer in before
            ]
            print(f"{kind:8}{name:38}{'  '.join(shown)}")


def main() -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", help="only models whose name contains this")
    parser.add_argument("--peers", default="torch,jax", help=f"some of {','.join(PEERS)}")
    parser.add_argument("--tables", default="record,steps,forward,memory", help="and export")
    parser.add_argument("--compare", type=Path, help="figures of an earlier run, from --json")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    torch = real_torch()
    args.peers = [p for p in args.peers.split(",") if p == "jax" or torch]
    figures: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "jax": jax.__version__,
        "torch": torch.__version__ if torch else None,
    }
    print(", ".join(f"{key} {value}" for key, value in figures.items()))
    tables: dict[str, Callable[[], Any]] = {
        "record": recording,
        "steps": lambda: table("training step", STEPS, args),
        "forward": lambda: table("inference", FORWARD, args),
        "memory": lambda: memory(args),
        "export": lambda: export.report(args.rounds),
    }
    for name in args.tables.split(","):
        figures[name] = tables[name]()
    if args.compare:
        compare(figures, json.loads(args.compare.read_text()))
    if args.json:
        part = args.json.with_suffix(".part")
        part.write_text(json.dumps(figures, indent=1))
        part.replace(args.json)


if __name__ == "__main__":
    main()
