"""Python's cost of recording one op, facade included, and of the same op in PyTorch."""

from __future__ import annotations

import time
from typing import Any

from funtorch import lowering


def microseconds_per_op(lib: Any, ops: int = 400, taped: bool = False, rounds: int = 20) -> float:
    """The best of several rounds of `x = x + y` on small tensors, without execution."""
    x = lib.ones(8, 8, requires_grad=taped)
    y = lib.ones(8, 8)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        z = x
        for _ in range(ops):
            z = z + y
        best = min(best, time.perf_counter() - start)
        if lib.__name__ == "funtorch":
            del z
            lowering.flush()  # nothing of it is wanted any more, so nothing runs
    return best / ops * 1e6
