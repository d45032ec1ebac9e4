"""How cost grows: with depth, with live tensors, with ever new shapes, with time.

Run as `python -m benchmarks.growth`; `--chart FILE` draws the first table.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import funtorch
from benchmarks.__main__ import contender, real_torch
from benchmarks.models import training
from benchmarks.recording import microseconds_per_op
from benchmarks.sequences import gpt
from benchmarks.timing import medians

DEPTHS = (4, 12, 24, 48, 96)


def with_depth(depths: tuple[int, ...]) -> list[dict[str, float]]:
    """First and steady step of a GPT of narrow blocks, against JAX."""
    rows = []
    for depth in depths:
        bench = training(lambda depth=depth: gpt(blocks=depth, width=64, length=32, batch=4))
        row: dict[str, float] = {"blocks": depth}
        steps = {}
        for who in ("funtorch", "jax"):
            steps[who] = contender(bench, who)
            start = time.perf_counter()
            steps[who]()
            row[f"{who} first"] = time.perf_counter() - start
        for who, seconds in medians(steps, 5, 2).items():
            row[f"{who} step"] = seconds
        rows.append(row)
        print("  ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
    return rows


def with_live_tensors() -> None:
    """Recording cost beside many tensors that are alive."""
    for count in (0, 1000, 10_000, 100_000):
        held = [funtorch.tensor([1.0]) for _ in range(count)]
        print(f"{count:7} live tensors: {microseconds_per_op(funtorch, rounds=5):.2f} µs per op")
        del held
        gc.collect()


def cell_loop(lib: Any) -> Callable[[int], Any]:
    """A training step through a Python loop over an LSTM cell."""
    lib.manual_seed(0)
    cell, head = lib.nn.LSTMCell(32, 32), lib.nn.Linear(32, 4)
    optimizer = lib.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.01)
    target = lib.zeros(8, dtype=lib.int64)

    def step(length: int) -> Any:
        state = lib.zeros(8, 32), lib.zeros(8, 32)
        for x in lib.randn(length, 8, 32):
            state = cell(x, state)
        optimizer.zero_grad()
        loss = lib.nn.functional.cross_entropy(head(state[0]), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def transformer(lib: Any) -> Callable[[int], Any]:
    """A training step of a Transformer encoder."""
    lib.manual_seed(0)
    layer = lib.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    model = lib.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.01)

    def step(length: int) -> Any:
        optimizer.zero_grad()
        loss = model(lib.randn(8, length, 32)).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def with_lengths(lengths: range = range(5, 55)) -> None:
    """Total seconds of one step at each of fifty lengths."""
    libraries = [lib for lib in (funtorch, real_torch()) if lib is not None]
    for make in (cell_loop, transformer):
        for turn in ("first pass", "second pass"):
            for lib in libraries:
                if turn == "first pass":
                    make.__dict__[lib.__name__] = make(lib)
                step = make.__dict__[lib.__name__]
                start = time.perf_counter()
                for length in lengths:
                    step(length)
                seconds = time.perf_counter() - start
                print(f"50 lengths, {make.__name__}, {turn}, {lib.__name__}: {seconds:.2f} s")


def with_time(steps: int = 2000) -> None:
    """Resident memory while one program trains."""
    step = contender(training(lambda: gpt(blocks=1, width=32, length=16, batch=2)), "funtorch")
    for number in range(1, steps + 1):
        step()
        if number in (100, steps // 2, steps):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"after {number} steps: {peak:.0f} MiB at most")


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """A chart of the table over depth."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5))
    for axis, what in zip(axes, ("first", "step"), strict=True):
        for who in ("funtorch", "jax"):
            axis.plot(
                [r["blocks"] for r in rows], [r[f"{who} {what}"] for r in rows], "o-", label=who
            )
        axis.set(xlabel="blocks", ylabel="seconds", title=f"{what} step of a GPT")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--depths", type=int, nargs="*", default=DEPTHS)
    parser.add_argument("--chart", type=Path, help="draw the table over depth; needs matplotlib")
    args = parser.parse_args()
    with_live_tensors()
    with_time()
    with_lengths()
    rows = with_depth(tuple(args.depths))
    if args.chart:
        draw(rows, args.chart)


if __name__ == "__main__":
    main()
