"""Shapes: reshaping, joining, cutting, padding, repeating, making.

Vectors of extents are built such that TensorFlow can see through them (`as_shape`): stacked scalars
and slices instead of gathers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.onnx.rules import ints
from funtorch.tensorflow.emission import as_shape, extents, rule

_FAR = 2**31 - 1  # beyond any extent; ONNX's own "to the end" is 2**63 - 1


@rule("Constant", raw=True)
def constant(*, value: Any) -> Any:
    """A value that stands in the model."""
    return value


@rule("Shape", raw=True)
def shape(x: Any, *, start: int = 0, end: int | None = None) -> Any:
    """The extents of x: on the host if they are known."""
    wanted = x.shape[start:end]
    if isinstance(x, np.ndarray) or wanted.is_fully_defined():
        return np.array(wanted, np.int64)
    return tf.shape(x, tf.int64)[start:end]


@rule("Size", raw=True)
def size(x: Any) -> Any:
    """The number of elements."""
    if isinstance(x, np.ndarray) or x.shape.is_fully_defined():
        return np.array(np.prod(x.shape, dtype=np.int64))
    return tf.size(x, tf.int64)


@rule("ConstantOfShape")
def constant_of_shape(shape: Any, *, value: Any = None) -> Any:
    """One value, repeated."""
    fill = np.zeros(1, np.float32) if value is None else value
    return tf.fill(shape, tf.constant(fill.reshape(())))


@rule("Reshape", until=4)
def reshape_attribute(x: Any, *, shape: Any) -> Any:
    """x with another shape."""
    return reshape(x, np.array(shape))


@rule("Reshape", since=5, raw=True)
def reshape(x: Any, shape: Any, *, ctx: Any = None, allowzero: int = 0) -> Any:
    """x with another shape; 0 keeps an extent, -1 follows from the rest."""
    x = x if ctx is None else ctx.tensor(x)
    if isinstance(shape, np.ndarray):
        return tf.reshape(x, _kept(x, [int(n) for n in shape], allowzero))
    known = as_shape(shape)
    if known.count(None) == 1 and 0 not in known:
        return tf.reshape(x, [-1 if n is None else n for n in known])
    return tf.reshape(x, shape)


def _kept(x: Any, wanted: list[int], allowzero: int) -> list[Any]:
    """The shape with what its zeros stand for."""
    if allowzero or 0 not in wanted:
        return wanted
    known = x.shape.as_list()
    lacking = [i for i, n in enumerate(wanted) if n == 0 and known[i] is None]
    if len(lacking) == 1 and -1 not in wanted:
        return [(-1 if i in lacking else known[i]) if n == 0 else n for i, n in enumerate(wanted)]
    now = extents(x)
    return [now[i] if n == 0 else n for i, n in enumerate(wanted)]


@rule("Flatten")
def flatten(x: Any, *, axis: int = 1) -> Any:
    """Two dimensions: everything before axis, and everything from it on."""
    sizes = extents(x)
    at = axis + len(sizes) if axis < 0 else axis
    rows, columns = _product(sizes[:at]), _product(sizes[at:])
    if isinstance(columns, int) and columns:
        return tf.reshape(x, (-1, columns))
    return tf.reshape(x, (rows, columns))


def _product(sizes: list[Any]) -> Any:
    made: Any = 1
    for n in sizes:
        made = made * n
    return made


@rule("Transpose")
def transpose(x: Any, *, perm: Any = None) -> Any:
    """Dimensions in another order, or reversed."""
    return tf.transpose(x, perm)


@rule("Squeeze", host="axes_input")
def squeeze(x: Any, axes_input: Any = None, *, axes: Any = None) -> Any:
    """Extents of one taken out."""
    given = axes if axes_input is None else axes_input
    if x.shape.rank == 1 and x.dtype.is_integer:
        return x[0]
    return tf.squeeze(x, None if given is None else ints(given))


@rule("Unsqueeze", host="axes_input")
def unsqueeze(x: Any, axes_input: Any = None, *, axes: Any = None) -> Any:
    """Extents of one put in."""
    given = ints(axes if axes_input is None else axes_input)
    if x.shape.rank == 0 and len(given) == 1:
        return tf.stack([x])
    rank = x.shape.rank + len(given)
    for axis in sorted(a % rank for a in given):
        x = tf.expand_dims(x, axis)
    return x


@rule("Concat")
def concat(*parts: Any, axis: int = 1) -> Any:
    """The inputs one after the other."""
    return tf.concat(parts, axis)


@rule("Split", host="sizes_input")
def split(
    x: Any,
    sizes_input: Any = None,
    *,
    ctx: Any,
    axis: int = 0,
    split: Any = None,
    num_outputs: int | None = None,
) -> Any:
    """Parts of x along axis: of given sizes, or as equal as can be."""
    sizes = ints(split if sizes_input is None else sizes_input)
    count = num_outputs or len(ctx.outputs)
    if not sizes and x.shape[axis] is not None:
        each = -(-x.shape[axis] // count)
        sizes = (each,) * (count - 1) + (x.shape[axis] - each * (count - 1),)
    return tuple(tf.split(x, list(sizes) or count, axis))


@rule("Slice", until=9)
def slice_attributes(x: Any, *, starts: Any, ends: Any, axes: Any = None) -> Any:
    """Part of x."""
    return slice_(x, np.array(starts), np.array(ends), axes and np.array(axes))


@rule("Slice", since=10, raw=True)
def slice_(
    x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None, *, ctx: Any = None
) -> Any:
    """Part of x: from start to end with a step, along the axes given."""
    x = x if ctx is None else ctx.tensor(x)
    count = starts.shape[0]
    where = range(count) if axes is None else ints(axes if ctx is None else ctx.host(axes))
    strides = (1,) * count if steps is None else ints(steps if ctx is None else ctx.host(steps))
    index = [slice(None)] * x.shape.rank
    for i, axis in enumerate(where):
        begin, end = _bound(starts, i), _bound(ends, i)
        extent = x.shape[axis]
        if strides[i] < 0 and isinstance(end, int) and extent is not None and end < -extent:
            end = None
        index[axis] = slice(begin, end, strides[i])
    return x[tuple(index)]


def _bound(values: Any, i: int) -> Any:
    if isinstance(values, np.ndarray):
        return int(np.clip(values[i], -_FAR, _FAR))
    known = tf.get_static_value(values)
    if known is not None:
        return _bound(np.asarray(known), i)
    return tf.clip_by_value(tf.cast(values[i], tf.int64), -_FAR, _FAR)


@rule("Expand", raw=True)
def expand(x: Any, shape: Any, *, ctx: Any) -> Any:
    """x broadcast with a shape."""
    x = ctx.tensor(x)
    if isinstance(shape, np.ndarray) and x.shape.is_fully_defined():
        return tf.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), ints(shape)))
    wanted = ctx.tensor(shape)
    own = tf.shape(x, wanted.dtype)
    return tf.broadcast_to(x, tf.broadcast_dynamic_shape(own, wanted))


@rule("Tile")
def tile(x: Any, repeats: Any) -> Any:
    """x repeated along each dimension."""
    return tf.tile(x, repeats)


@rule("Pad", until=10)
def pad_attributes(
    x: Any, *, pads: Any = None, paddings: Any = None, mode: str = "constant", value: float = 0.0
) -> Any:
    """x with a border."""
    return pad(x, np.array(pads or paddings), tf.cast(value, x.dtype), mode=mode)


@rule("Pad", since=11, host="pads axes")
def pad(x: Any, pads: Any, value: Any = None, axes: Any = None, *, mode: str = "constant") -> Any:
    """x with a border of a value, of its edge, mirrored or wrapped; negative widths crop."""
    rank, widths = x.shape.rank, ints(pads)
    where = range(rank) if axes is None else [a % rank for a in ints(axes)]
    border = [(0, 0)] * rank
    for i, axis in enumerate(where):
        border[axis] = (widths[i], widths[i + len(widths) // 2])
    if min(widths, default=0) < 0:
        x = x[tuple(slice(max(-a, 0), -max(-b, 0) or None) for a, b in border)]
    grown = [(max(a, 0), max(b, 0)) for a, b in border]
    if mode == "constant":
        return tf.pad(x, grown, constant_values=0 if value is None else tf.reshape(value, ()))
    if mode == "reflect":
        return tf.pad(x, grown, "REFLECT")
    for axis, (before, after) in enumerate(grown):
        if before or after:
            x = _extended(x, axis, before, after, mode)
    return x


def _extended(x: Any, axis: int, before: int, after: int, mode: str) -> Any:
    """One dimension with its edge repeated, or wrapped around."""
    extent = extents(x)[axis]
    at = tf.range(-before, extent + after)
    at = tf.math.floormod(at, extent) if mode == "wrap" else tf.clip_by_value(at, 0, extent - 1)
    return tf.gather(x, at, axis=axis)


@rule("DepthToSpace")
def depth_to_space(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """[N, C b b, H, W] -> [N, C, H b, W b]."""
    n, c, h, w = extents(x)
    b = blocksize
    if mode == "DCR":
        x = tf.transpose(tf.reshape(x, (n, b, b, c // b**2, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        x = tf.transpose(tf.reshape(x, (n, c // b**2, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return tf.reshape(x, (n, c // b**2, h * b, w * b))


@rule("SpaceToDepth")
def space_to_depth(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """[N, C, H b, W b] -> [N, b b C, H, W]."""
    n, c, h, w = extents(x)
    b = blocksize
    x = tf.reshape(x, (n, c, h // b, b, w // b, b))
    x = tf.transpose(x, (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
    return tf.reshape(x, (n, c * b * b, h // b, w // b))


@rule("Trilu")
def trilu(x: Any, k: Any = None, *, upper: int = 1) -> Any:
    """The upper or lower triangle, moved by k diagonals. [..., n, m]"""
    *_, n, m = extents(x)
    rows = tf.range(tf.cast(n, tf.int64))[:, None]
    columns = tf.range(tf.cast(m, tf.int64))[None]
    k = tf.cast(0 if k is None else tf.reshape(k, ()), tf.int64)
    inside = columns - rows >= k if upper else columns - rows <= k
    return tf.where(inside, x, tf.zeros_like(x))


@rule("EyeLike")
def eye_like(x: Any, *, ctx: Any, dtype: int | None = None, k: int = 0) -> Any:
    """Ones on the k-th diagonal of a matrix shaped as x."""
    n, m = extents(x)
    difference = tf.range(tf.cast(m, tf.int64))[None] - tf.range(tf.cast(n, tf.int64))[:, None]
    return tf.cast(difference == k, ctx.kind(dtype) if dtype else x.dtype)


@rule("Range")
def range_(start: Any, limit: Any, delta: Any, *, stash_type: int = 1) -> Any:
    """start, start + delta, ... below limit."""
    return tf.range(*(tf.reshape(v, ()) for v in (start, limit, delta)))


@rule("ReverseSequence")
def reverse_sequence(x: Any, lengths: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    """The first steps of each sequence in reverse order, the rest as it is."""
    return tf.reverse_sequence(x, lengths, seq_axis=time_axis, batch_axis=batch_axis)
