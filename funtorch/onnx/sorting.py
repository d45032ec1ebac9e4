"""Sorting, and what is kept of it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor


@rule("TopK", until=9)
def top_k_attribute(x: Tensor, *, k: int, axis: int = -1) -> Any:
    """The k greatest elements along axis, and where they are."""
    return _top(x, k=int(k), axis=axis, largest=True)


@rule("TopK", since=10, host="k")
def top_k(
    x: Tensor,
    k: Any,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,
) -> Any:
    """The k greatest or least elements along axis, in order, and where they are."""
    return _top(x, k=int(np.asarray(k).reshape(())), axis=axis, largest=bool(largest))


@kernel
def _top(x: Array, *, k: int, axis: int, largest: bool) -> tuple[Array, Array]:
    order = jnp.argsort(x, axis, descending=largest, stable=True)
    index = jnp.take(order, jnp.arange(k), axis)
    return jnp.take_along_axis(x, index, axis), index.astype(jnp.int64)


@rule("Unique", raw=True)
def unique(x: Any, *, ctx: Any, axis: int | None = None, sorted: int = 1) -> Any:
    """Different values (or slices along axis), where they first are, which is where, how often."""
    array = np.asarray(ctx.host(x))
    values, first, inverse, counts = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        values = np.take(values, order, 0 if axis is None else axis)
        first, counts, inverse = first[order], counts[order], rank[inverse]
    found = (first, inverse, counts)
    parts = [np.asarray(v, np.int64) for v in found]
    return tuple(v if v.dtype == object else ctx.tensor(v) for v in (values, *parts))
