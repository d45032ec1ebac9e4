"""The strided ops that functions of nested tensors are composed of.

A jagged tensor's elements lie in `values` [total, *rest]; row k belongs to the component
`segments[k]` and is its `positions[k]`-th.
"""

from __future__ import annotations

import jax.numpy as jnp

from funtorch.ops._declare import Array, op


@op(function=False, differentiable=False)
def rows_in(offsets: Array, total: int) -> tuple[Array, Array]:
    """The component of each row, and its place in it. [n + 1] -> [total], [total]"""
    rows = jnp.arange(total)
    segments = jnp.searchsorted(offsets, rows, side="right") - 1
    return segments, rows - offsets[segments]


@op(function=False, saves=("segments", "positions"), grad_name="NestedToPaddedBackward0")
def padded(
    values: Array, segments: Array, positions: Array, count: int, length: int, fill: float
) -> Array:
    """Components side by side, filled up to one length. [total, *rest] -> [count, length, *rest]"""
    full = jnp.full((count, length, *values.shape[1:]), fill, values.dtype)
    return full.at[segments, positions].set(values)


@op(function=False, saves=("segments", "positions"), grad_name="NestedFromPaddedBackward0")
def unpadded(full: Array, segments: Array, positions: Array) -> Array:
    """The rows of components again. [count, length, *rest] -> [total, *rest]"""
    return full[segments, positions]
