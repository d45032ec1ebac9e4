"""Gathering and scattering. Indices may count from the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.tensorflow.emission import extents, rule


def wrapped(indices: Any, extent: Any) -> Any:
    """Indices from the beginning."""
    return tf.where(indices < 0, indices + tf.cast(extent, indices.dtype), indices)


@rule("Gather", raw=True)
def gather(x: Any, indices: Any, *, ctx: Any, axis: int = 0) -> Any:
    """Slices of x along axis at these indices."""
    if isinstance(x, np.ndarray) and isinstance(indices, np.ndarray):
        return np.asarray(np.take(x, indices.astype(np.int64), axis))
    x = ctx.tensor(x)
    if isinstance(indices, np.ndarray) and x.shape.rank == 1 and x.dtype.is_integer:
        # Extents of a shape, which TensorFlow sees through slices only.
        picked = [x[int(i)] for i in indices.reshape(-1)]
        return tf.stack(picked) if indices.ndim == 1 else tf.reshape(picked, indices.shape)
    return tf.gather(x, _known_or_wrapped(ctx.tensor(indices), indices, x, axis), axis=axis)


def _known_or_wrapped(tensor: Any, indices: Any, x: Any, axis: int) -> Any:
    if isinstance(indices, np.ndarray) and (indices >= 0).all():
        return tensor
    return wrapped(tensor, extents(x)[axis])


@rule("GatherElements")
def gather_elements(x: Any, indices: Any, *, axis: int = 0) -> Any:
    """out[i, j, k] = x[indices[i, j, k], j, k] for axis 0."""
    rank = x.shape.rank
    axis %= rank
    at = wrapped(indices, extents(x)[axis])
    room = extents(indices)
    same = x.shape.as_list() == indices.shape.as_list() and None not in x.shape
    if not same:
        x = x[tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(room))]
    order = [*(i for i in range(rank) if i != axis), axis]
    picked = tf.gather(tf.transpose(x, order), tf.transpose(at, order), batch_dims=rank - 1)
    return tf.transpose(picked, np.argsort(order))


@rule("GatherND")
def gather_nd(x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    """The last dimension of indices addresses the dimensions of x after the batch's."""
    return tf.gather_nd(x, _wrapped_tuples(indices, x, batch_dims), batch_dims=batch_dims)


def _wrapped_tuples(indices: Any, x: Any, batch_dims: int) -> Any:
    room = extents(x)[batch_dims : batch_dims + indices.shape[-1]]
    return wrapped(indices, tf.stack([tf.cast(n, indices.dtype) for n in room]))


def _product(x: Any, at: Any, updates: Any) -> Any:
    raise NotImplementedError("scattering with reduction='mul' has no rule in TensorFlow")


_SCATTER = {
    "none": tf.tensor_scatter_nd_update, "add": tf.tensor_scatter_nd_add, "mul": _product,
    "max": tf.tensor_scatter_nd_max, "min": tf.tensor_scatter_nd_min,
}  # fmt: skip


@rule("ScatterElements", "Scatter")
def scatter_elements(
    x: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: str = "none"
) -> Any:
    """x with updates[i, j, k] at [indices[i, j, k], j, k] for axis 0."""
    ranges = [tf.range(tf.cast(n, tf.int64)) for n in extents(indices)]
    at = tf.meshgrid(*ranges, indexing="ij")
    at[axis] = tf.cast(wrapped(indices, extents(x)[axis]), tf.int64)
    return _SCATTER[reduction](x, tf.stack(at, -1), updates)


@rule("ScatterND")
def scatter_nd(x: Any, indices: Any, updates: Any, *, reduction: str = "none") -> Any:
    """x with slices of updates at the places that the last dimension of indices names."""
    return _SCATTER[reduction](x, _wrapped_tuples(indices, x, 0), updates)


@rule("TensorScatter")
def tensor_scatter(
    cache: Any, update: Any, starts: Any = None, *, axis: int = -2, mode: str = "linear"
) -> Any:
    """A cache with each sample's update written along axis from its start on."""
    axis %= cache.shape.rank
    count, room = extents(update)[axis], extents(cache)[axis]
    first = tf.zeros(extents(cache)[:1], tf.int64) if starts is None else tf.cast(starts, tf.int64)
    steps = tf.range(tf.cast(room, tf.int64))[None] - first[:, None]
    if mode == "circular":
        steps = tf.math.floormod(steps, tf.cast(room, tf.int64))
    fresh = (steps >= 0) & (steps < tf.cast(count, tf.int64))
    source = tf.where(fresh, steps, 0)
    order = [0, axis, *(i for i in range(1, cache.shape.rank) if i != axis)]
    taken = tf.gather(tf.transpose(update, order), source, batch_dims=1)
    mask = tf.reshape(fresh, (*extents(fresh), *(1,) * (cache.shape.rank - 2)))
    made = tf.where(mask, taken, tf.transpose(cache, order))
    return tf.transpose(made, np.argsort(order))


@rule("OneHot", raw=True)
def one_hot(indices: Any, depth: Any, values: Any, *, ctx: Any, axis: int = -1) -> Any:
    """values[1] at the index along a new axis, values[0] elsewhere."""
    indices, values = ctx.tensor(indices), ctx.tensor(values)
    count = tf.cast(tf.reshape(ctx.tensor(depth), ()), tf.int32)
    if isinstance(depth, np.ndarray):
        count = int(depth.reshape(()))
    at = tf.cast(wrapped(indices, count), tf.int64)
    at_axis = axis % (indices.shape.rank + 1)
    hot = tf.one_hot(at, count, on_value=True, off_value=False, axis=at_axis)
    return tf.where(hot, values[1], values[0])


@rule("NonZero")
def non_zero(x: Any) -> Any:
    """[rank, count]: where x is not zero."""
    return tf.transpose(tf.where(x if x.dtype == tf.bool else x != 0))


@rule("Compress")
def compress(x: Any, condition: Any, *, axis: int | None = None) -> Any:
    """Slices of x where the condition holds."""
    rows = tf.reshape(x, (-1,)) if axis is None else x
    return tf.gather(rows, tf.reshape(tf.where(condition), (-1,)), axis=axis or 0)


@rule("Unique")
def unique(x: Any, *, axis: int | None = None, sorted: int = 1) -> Any:
    """Values without repetition, their first places, where each went, and how often."""
    if axis is not None:
        raise NotImplementedError("Unique along an axis has no rule in TensorFlow")
    flat = tf.reshape(x, (-1,))
    values, inverse, counts = tf.unique_with_counts(flat, tf.int64)
    first = tf.math.unsorted_segment_min(tf.range(tf.size(flat, tf.int64)), inverse, tf.size(values))
    if sorted:
        order = tf.argsort(values)
        values, first, counts = (tf.gather(v, order) for v in (values, first, counts))
        inverse = tf.cast(tf.gather(tf.argsort(order), inverse), tf.int64)
    return values, first, inverse, counts
