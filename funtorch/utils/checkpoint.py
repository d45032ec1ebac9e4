"""Checkpointing: keep a function's inputs instead of what it computed, and compute that again.

The function is traced into a program of its own and recorded as one op. On GPUs `jax.checkpoint` keeps
XLA from merging the second computation with the first. XLA:CPU drops its barriers and merges all the
same (24 activations stayed in memory, and 0.3 MB more), so there the second computation stands in a
branch whose condition only we know to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.dispatch import read
from funtorch.func.pure import record_pure, split, trace
from funtorch.grad_mode import mode
from funtorch.lowering import platform

Pure = Callable[..., Any]


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

    def again(arrays: Sequence[Any]) -> list[Any]:
        def pure(*given: Any) -> tuple[Any, ...]:
            return tuple(traced(given[:n], given[n:]))

        remade = _in_a_branch(pure) if platform() == "cpu" else jax.checkpoint(pure)
        return list(remade(*arrays))

    outs = record_pure("checkpoint", traced.captured.key, again, [*tensors, *traced.closed_over])
    return traced.rebuild(outs)


def _in_a_branch(pure: Pure) -> Pure:
    """`pure`, whose gradient computes it again where XLA cannot merge that with the first time."""

    @jax.custom_vjp
    def remade(*arrays: Any) -> Any:
        return pure(*arrays)

    def forward(*arrays: Any) -> Any:
        return pure(*arrays), arrays

    def backward(arrays: Any, cotangents: Any) -> Any:
        moving = [i for i, a in enumerate(arrays) if jnp.issubdtype(a.dtype, jnp.inexact)]

        def of_moving(*varying: Any) -> Any:
            full = list(arrays)
            for i, x in zip(moving, varying, strict=True):
                full[i] = x
            return pure(*full)

        def recompute(varying: Any) -> Any:
            return jax.vjp(of_moving, *varying)[1](cotangents)

        varying = tuple(arrays[i] for i in moving)
        grads = lax.cond(_always(cotangents), recompute, lambda v: jax.tree.map(jnp.zeros_like, v),
                         varying)  # fmt: skip
        full: list[Any] = [None] * len(arrays)
        for i, grad in zip(moving, grads, strict=True):
            full[i] = grad
        return tuple(full)

    remade.defvjp(forward, backward)
    return remade


def _always(cotangents: Sequence[Any]) -> Any:
    """True, in a way that XLA does not see through and that waits for the cotangents."""
    first = next(c for c in cotangents if c.dtype != jax.dtypes.float0 and c.size)
    sign = jnp.isnan(jnp.real(first).reshape(-1)[0]).astype(jnp.int32)
    return jnp.minimum(jnp.maximum(sign, 1), 1) == 1


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
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
