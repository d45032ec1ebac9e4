"""Gathering and scattering."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funtorch.onnx.rules import Array, kernel, rule
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor


@rule("Gather", raw=True)
def gather(x: Any, indices: Any, *, ctx: Any, axis: int = 0) -> Any:
    """Slices of x along axis at these indices, which may count from the end."""
    if isinstance(x, np.ndarray) and isinstance(indices, np.ndarray):
        return np.asarray(np.take(x, indices.astype(np.int64), axis))
    return _gather(ctx.tensor(x), ctx.tensor(indices), axis=axis)


@kernel
def _gather(x: Array, indices: Array, *, axis: int) -> Array:
    return jnp.take(x, _wrapped(indices, x.shape[axis]), axis, mode="clip")


def _wrapped(indices: Array, extent: int) -> Array:
    return jnp.where(indices < 0, indices + extent, indices)


@rule("GatherElements")
@kernel
def gather_elements(x: Array, indices: Array, *, axis: int = 0) -> Array:
    """out[i, j, k] = x[indices[i, j, k], j, k] for axis 0."""
    at = list(jnp.meshgrid(*(jnp.arange(n) for n in indices.shape), indexing="ij"))
    at[axis] = _wrapped(indices, x.shape[axis])
    return x[tuple(at)]


@rule("GatherND")
@kernel
def gather_nd(x: Array, indices: Array, *, batch_dims: int = 0) -> Array:
    """The last dimension of indices addresses the dimensions of x after the batch's."""

    def one(x: Array, indices: Array) -> Array:
        return x[tuple(jnp.moveaxis(indices, -1, 0))]

    for _ in range(batch_dims):
        one = jax.vmap(one)
    return one(x, indices)


def _combine(target: Any, values: Array, reduction: str) -> Array:
    return {"none": target.set, "add": target.add, "mul": target.multiply, "max": target.max,
            "min": target.min}[reduction](values)  # fmt: skip


@rule("ScatterElements", "Scatter")
@kernel
def scatter_elements(
    x: Array, indices: Array, updates: Array, *, axis: int = 0, reduction: str = "none"
) -> Array:
    """x with updates[i, j, k] at [indices[i, j, k], j, k] for axis 0."""
    at = list(jnp.meshgrid(*(jnp.arange(n) for n in indices.shape), indexing="ij"))
    at[axis] = _wrapped(indices, x.shape[axis])
    return _combine(x.at[tuple(at)], updates, reduction)


@rule("ScatterND")
@kernel
def scatter_nd(x: Array, indices: Array, updates: Array, *, reduction: str = "none") -> Array:
    """x with slices of updates at the places that the last dimension of indices names."""
    return _combine(x.at[tuple(jnp.moveaxis(indices, -1, 0))], updates, reduction)


@rule("TensorScatter")
@kernel
def tensor_scatter(
    cache: Array,
    update: Array,
    starts: Array | None = None,
    *,
    axis: int = -2,
    mode: str = "linear",
) -> Array:
    """A cache with each sample's update written along axis from its start on."""
    axis %= cache.ndim
    if starts is None:
        starts = jnp.zeros(cache.shape[0], jnp.int64)

    def one(cache: Array, update: Array, start: Array) -> Array:
        where = start + jnp.arange(update.shape[axis - 1])
        if mode == "circular":
            where = where % cache.shape[axis - 1]
        moved = jnp.moveaxis(cache, axis - 1, 0).at[where].set(jnp.moveaxis(update, axis - 1, 0))
        return jnp.moveaxis(moved, 0, axis - 1)

    return jax.vmap(one)(cache, update, starts)


@rule("OneHot", host="depth")
def one_hot(indices: Tensor, depth: Any, values: Tensor, *, axis: int = -1) -> Tensor:
    """values[1] at the index along a new axis, values[0] elsewhere."""
    return _one_hot_of(indices, values, depth=int(np.asarray(depth).reshape(())), axis=axis)


@kernel
def _one_hot_of(indices: Array, values: Array, *, depth: int, axis: int) -> Array:
    at = axis % (indices.ndim + 1)
    steps = jnp.arange(depth).reshape((-1,) + (1,) * (indices.ndim - at))
    wrapped = _wrapped(indices, depth)
    return jnp.where(jnp.expand_dims(wrapped, at) == steps, values[1], values[0])


@rule("NonZero")
def non_zero(x: Tensor) -> Tensor:
    """[rank, count]: where x is not zero."""
    return TABLE["nonzero"].facade(x).t()


@rule("Compress", host="condition")
def compress(x: Tensor, condition: Any, *, axis: int | None = None) -> Tensor:
    """Slices of x where the condition holds."""
    (where,) = np.nonzero(np.asarray(condition))
    if axis is None:
        return _gather(x.reshape(-1), TABLE["tensor"].facade(where), axis=0)
    return _gather(x, TABLE["tensor"].facade(where), axis=axis)
