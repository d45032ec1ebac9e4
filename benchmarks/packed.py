"""A training step of an LSTM on packed and on padded sequences: `python -m benchmarks.packed`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

import funtorch
from benchmarks.__main__ import real_torch
from benchmarks.timing import medians

LENGTH, BATCH, WIDTH, LAYERS = 50, 32, 128, 2


def step(lib: Any, packed: bool) -> Callable[[], float]:
    """Forward, backward and an update on the mean of all outputs squared."""
    rng = np.random.default_rng(0)
    lengths = lib.from_numpy(np.sort(rng.integers(LENGTH // 4, LENGTH + 1, BATCH))[::-1].copy())
    x = lib.from_numpy(rng.standard_normal((LENGTH, BATCH, WIDTH)).astype(np.float32))
    model = lib.nn.LSTM(WIDTH, WIDTH, LAYERS)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.01)
    pack = lib.nn.utils.rnn.pack_padded_sequence

    def run() -> float:
        optimizer.zero_grad()
        out = model(pack(x, lengths) if packed else x)[0]
        (out.data if packed else out).square().mean().backward()
        optimizer.step()
        return float(next(iter(model.parameters())).detach().flatten()[0])

    return run


def main() -> None:
    """Measure and print milliseconds and what packing costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    for lib in filter(None, (funtorch, real_torch())):
        forms = {"padded": step(lib, False), "packed": step(lib, True)}
        found = medians(forms, args.rounds, 3)
        ratio = found["packed"] / found["padded"]
        shown = ", ".join(f"{form} {seconds * 1e3:.1f} ms" for form, seconds in found.items())
        print(f"{lib.__name__:10} {shown}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
