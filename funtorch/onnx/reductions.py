"""Reductions over axes, which are attributes in old opsets and an input in new ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funtorch.onnx.rules import Array, ints, kernel, rule
from funtorch.tensor import Tensor


def _least(dtype: Any) -> Any:
    return False if dtype.kind == "b" else -jnp.inf if dtype.kind in "fV" else jnp.iinfo(dtype).min


def _most(dtype: Any) -> Any:
    return True if dtype.kind == "b" else jnp.inf if dtype.kind in "fV" else jnp.iinfo(dtype).max


_BODIES: dict[str, Callable[..., Any]] = {
    "ReduceSum": lambda x, **k: jnp.sum(x, **k, dtype=x.dtype),
    "ReduceProd": lambda x, **k: jnp.prod(x, **k, dtype=x.dtype),
    "ReduceMean": lambda x, **k: jnp.mean(x, **k, dtype=x.dtype),
    "ReduceMax": lambda x, **k: jnp.max(x, **k, initial=_least(x.dtype)),
    "ReduceMin": lambda x, **k: jnp.min(x, **k, initial=_most(x.dtype)),
    "ReduceL1": lambda x, **k: jnp.sum(jnp.abs(x), **k, dtype=x.dtype),
    "ReduceL2": lambda x, **k: jnp.sqrt(jnp.sum(x * x, **k, dtype=x.dtype)).astype(x.dtype),
    "ReduceLogSum": lambda x, **k: jnp.log(jnp.sum(x, **k, dtype=x.dtype)).astype(x.dtype),
    "ReduceLogSumExp": lambda x, **k: jax.nn.logsumexp(x, **k),
    "ReduceSumSquare": lambda x, **k: jnp.sum(x * x, **k, dtype=x.dtype),
}


@kernel
def _reduced(x: Array, *, kind: str, axes: Any, keepdims: bool) -> Array:
    return _BODIES[kind](x, axis=axes, keepdims=keepdims).astype(x.dtype)


def _reduction(name: str) -> None:
    @rule(name, host="axes_input")
    def reduction(
        x: Tensor,
        axes_input: Any = None,
        *,
        axes: Any = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        where = ints(axes if axes_input is None else axes_input)
        if noop_with_empty_axes and not where:
            where = ()
        else:
            where = where or tuple(range(x.ndim))
        return _reduced(x, kind=name, axes=where, keepdims=bool(keepdims))


for _name in _BODIES:
    _reduction(_name)


def _extreme(x: Array, largest: bool, axis: int, keepdims: int, last: int) -> Array:
    find = jnp.argmax if largest else jnp.argmin
    if not last:
        return find(x, axis, keepdims=bool(keepdims)).astype(jnp.int64)
    found = x.shape[axis] - 1 - find(jnp.flip(x, axis), axis, keepdims=bool(keepdims))
    return found.astype(jnp.int64)


@rule("ArgMax")
@kernel
def arg_max(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    """Index of the greatest element along axis."""
    return _extreme(x, True, axis, keepdims, select_last_index)


@rule("ArgMin")
@kernel
def arg_min(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    """Index of the least element along axis."""
    return _extreme(x, False, axis, keepdims, select_last_index)


def _running(x: Tensor, axis: Any, product: bool, exclusive: int, reverse: int) -> Tensor:
    return _cumulative(x, axis=int(axis), product=product, exclusive=bool(exclusive),
                       reverse=bool(reverse))  # fmt: skip


@rule("CumSum", host="axis")
def cum_sum(x: Tensor, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Sums of all elements up to each."""
    return _running(x, axis, False, exclusive, reverse)


@rule("CumProd", host="axis")
def cum_prod(x: Tensor, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Products of all elements up to each."""
    return _running(x, axis, True, exclusive, reverse)


@kernel
def _cumulative(x: Array, *, axis: int, product: bool, exclusive: bool, reverse: bool) -> Array:
    if reverse:
        x = jnp.flip(x, axis)
    run = (jnp.cumprod if product else jnp.cumsum)(x, axis, dtype=x.dtype)
    if exclusive:
        first = jnp.full_like(jnp.take(run, jnp.arange(1), axis), 1 if product else 0)
        rest = jnp.take(run, jnp.arange(x.shape[axis] - 1), axis)
        run = jnp.concatenate([first, rest], axis)
    return jnp.flip(run, axis) if reverse else run
