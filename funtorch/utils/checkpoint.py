"""Checkpointing: keep a function's inputs instead of what it computed, and compute that again.

The function is traced into a program of its own and recorded as one op under `jax.checkpoint`, whose
recomputation XLA may not merge with the forward pass: memory falls, at the price of time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funtorch.dispatch import read
from funtorch.func.pure import record_pure, split, trace
from funtorch.grad_mode import mode


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    determinism_check: str = "default",
    debug: bool = False,
    **kwargs: Any,
) -> Any:
    """Call `function` so that its intermediate values are computed again in backward."""
    tensors, spec = split(args, kwargs)
    if not tensors or not mode.enabled:
        return function(*args, **kwargs)
    traced = trace(function, [read(t).aval for t in tensors], spec)
    n = len(tensors)

    @jax.checkpoint
    def again(arrays: Sequence[Any]) -> list[Any]:
        return traced(arrays[:n], arrays[n:])

    outs = record_pure("checkpoint", traced.captured.key, again, [*tensors, *traced.closed_over])
    return traced.rebuild(outs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Call functions one after the other, checkpointing all segments but the last."""
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(steps) // segments

    def run(begin: int, end: int) -> Callable[[Any], Any]:
        def segment(x: Any) -> Any:
            for step in steps[begin:end]:
                x = step(x)
            return x

        return segment

    at = 0
    for _ in range(segments - 1):
        input = checkpoint(run(at, at + size), input, use_reentrant=use_reentrant)  # noqa: A001
        at += size
    return run(at, len(steps))(input)
