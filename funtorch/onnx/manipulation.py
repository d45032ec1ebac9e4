"""Shapes: reshaping, joining, cutting, padding, repeating."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch import dtypes
from funtorch.onnx.rules import Array, ints, kernel, rule
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor


@rule("Shape", raw=True)
def shape(x: Any, *, start: int = 0, end: int | None = None) -> Any:
    """The extents of x, known on the host."""
    return np.array(tuple(x.shape)[start:end], np.int64)


@rule("Size", raw=True)
def size(x: Any) -> Any:
    """The number of elements."""
    return np.array(np.prod(tuple(x.shape), dtype=np.int64))


@rule("Constant", raw=True)
def constant(*, value: Any) -> Any:
    """A value that stands in the model."""
    return value


@rule("ConstantOfShape", host="shape")
def constant_of_shape(shape: Any, *, ctx: Any, value: Any = None) -> Any:
    """One value, repeated."""
    fill = np.zeros(1, np.float32) if value is None else value
    if fill.dtype.kind not in "fiub":
        return ctx.tensor(np.full(ints(shape), fill.reshape(-1)[0], fill.dtype))
    value = fill.reshape(-1)[0].item()
    dtype = dtypes.of(fill.dtype)
    return TABLE["full"].facade(ints(shape), value, dtype=dtype, device=ctx.device)


@rule("Reshape", until=4)
def reshape_attribute(x: Tensor, *, shape: Any) -> Tensor:
    """x with another shape."""
    return reshape(x, shape)


@rule("Reshape", since=5, host="shape")
def reshape(x: Tensor, shape: Any, *, allowzero: int = 0) -> Tensor:
    """x with another shape; 0 keeps an extent, -1 follows from the rest."""
    wanted = list(ints(shape))
    if not allowzero:
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    if -1 in wanted and 0 in wanted:
        rest = int(np.prod([n for n in wanted if n > 0], dtype=np.int64))
        wanted[wanted.index(-1)] = x.numel() // max(rest, 1)
    return x.reshape(tuple(wanted))


@rule("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Two dimensions: everything before axis, and everything from it on."""
    at = axis + x.ndim if axis < 0 else axis
    rows = int(np.prod(x.shape[:at], dtype=np.int64))
    return x.reshape(rows, int(np.prod(x.shape[at:], dtype=np.int64)))


@rule("Transpose")
def transpose(x: Tensor, *, perm: Any = None) -> Tensor:
    """Dimensions in another order, or reversed."""
    return x.permute(tuple(perm) if perm is not None else tuple(range(x.ndim))[::-1])


@rule("Squeeze", host="axes_input")
def squeeze(x: Tensor, axes_input: Any = None, *, axes: Any = None) -> Tensor:
    """Extents of one taken out."""
    given = axes if axes_input is None else axes_input
    return x.squeeze() if given is None else x.squeeze(ints(given))


@rule("Unsqueeze", host="axes_input")
def unsqueeze(x: Tensor, axes_input: Any = None, *, axes: Any = None) -> Tensor:
    """Extents of one put in."""
    given = ints(axes if axes_input is None else axes_input)
    ndim = x.ndim + len(given)
    for axis in sorted(a % ndim for a in given):
        x = x.unsqueeze(axis)
    return x


@rule("Concat")
def concat(*parts: Tensor, axis: int = 1) -> Tensor:
    """The inputs one after the other."""
    return _concat(list(parts), axis=axis)


@kernel
def _concat(parts: list[Array], *, axis: int) -> Array:
    return jnp.concatenate(parts, axis)


@rule("Split", host="sizes_input")
def split(
    x: Tensor,
    sizes_input: Any = None,
    *,
    ctx: Any,
    axis: int = 0,
    split: Any = None,
    num_outputs: int | None = None,
) -> Any:
    """Parts of x along axis: of given sizes, or as equal as can be."""
    sizes = ints(split if sizes_input is None else sizes_input)
    if not sizes:
        count = num_outputs or len(ctx.outputs)
        each = -(-x.shape[axis] // count)
        sizes = (each,) * (count - 1) + (x.shape[axis] - each * (count - 1),)
    return tuple(TABLE["split_with_sizes"].facade(x, sizes, axis))


@rule("Slice", until=9)
def slice_attributes(x: Tensor, *, starts: Any, ends: Any, axes: Any = None) -> Tensor:
    """Part of x."""
    return slice_(x, starts, ends, axes)


@rule("Slice", since=10, host="starts ends axes steps")
def slice_(x: Tensor, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
    """Part of x: from start to end with a step, along the axes given."""
    begins, stops = ints(starts), ints(ends)
    where = tuple(range(len(begins))) if axes is None else ints(axes)
    strides = (1,) * len(begins) if steps is None else ints(steps)
    bounds = [(0, n, 1) for n in x.shape]
    for axis, start, stop, step in zip(where, begins, stops, strides, strict=True):
        # `indices` clamps as ONNX does, both ways.
        at, to, by = slice(start, stop, step).indices(x.shape[axis])
        if step < 0 and stop < -x.shape[axis]:
            to = -1
        bounds[axis] = (at, to, by)
    return _slice(x, bounds=tuple(bounds))


@kernel
def _slice(x: Array, *, bounds: tuple) -> Array:
    index = tuple(slice(a, None if b < 0 else b, c) for a, b, c in bounds)
    return x[index]


@rule("Expand", host="shape")
def expand(x: Tensor, shape: Any) -> Tensor:
    """x broadcast with a shape."""
    return x.expand(np.broadcast_shapes(tuple(x.shape), ints(shape)))


@rule("Tile", host="repeats")
def tile(x: Tensor, repeats: Any) -> Tensor:
    """x repeated along each dimension."""
    return x.repeat(ints(repeats))


@rule("Pad", until=10)
def pad_attributes(
    x: Tensor,
    *,
    pads: Any = None,
    paddings: Any = None,
    mode: str = "constant",
    value: float = 0.0,
) -> Tensor:
    """x with a border."""
    return _pad(x, None, widths=_widths(ints(pads or paddings), x.ndim, None), mode=mode,
                fill=float(value))  # fmt: skip


@rule("Pad", since=11, host="pads axes")
def pad(
    x: Tensor,
    pads: Any,
    value: Tensor | None = None,
    axes: Any = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """x with a border of a value, of its edge, mirrored or wrapped; negative widths crop."""
    widths = _widths(ints(pads), x.ndim, None if axes is None else ints(axes))
    return _pad(x, value, widths=widths, mode=mode, fill=0.0)


def _widths(pads: tuple[int, ...], ndim: int, axes: Any) -> tuple[tuple[int, int], ...]:
    where = range(ndim) if axes is None else [a % ndim for a in axes]
    widths = [(0, 0)] * ndim
    for i, axis in enumerate(where):
        widths[axis] = (pads[i], pads[i + len(pads) // 2])
    return tuple(widths)


@kernel
def _pad(x: Array, value: Array | None, *, widths: tuple, mode: str, fill: float) -> Array:
    if mode == "constant":
        with_ = jnp.asarray(fill, x.dtype) if value is None else value.reshape(()).astype(x.dtype)
        return lax.pad(x, with_, [(a, b, 0) for a, b in widths])
    crop = tuple(slice(max(-a, 0), x.shape[i] - max(-b, 0)) for i, (a, b) in enumerate(widths))
    grown = [(max(a, 0), max(b, 0)) for a, b in widths]
    return jnp.pad(x[crop], grown, mode=mode)


@rule("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """[N, C b b, H, W] -> [N, C, H b, W b]."""
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        x = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // b**2, h * b, w * b)


@rule("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """[N, C, H b, W b] -> [N, b b C, H, W]."""
    n, c, h, w = x.shape
    b = blocksize
    x = x.reshape(n, c, h // b, b, w // b, b)
    x = x.permute(0, 3, 5, 1, 2, 4) if mode == "DCR" else x.permute(0, 1, 3, 5, 2, 4)
    return x.reshape(n, c * b * b, h // b, w // b)


@rule("Trilu", host="k")
def trilu(x: Tensor, k: Any = None, *, upper: int = 1) -> Tensor:
    """The upper or lower triangle, moved by k diagonals."""
    return _trilu(x, k=0 if k is None else int(k), upper=bool(upper))


@kernel
def _trilu(x: Array, *, k: int, upper: bool) -> Array:
    return jnp.triu(x, k) if upper else jnp.tril(x, k)


@rule("EyeLike")
def eye_like(x: Tensor, *, ctx: Any, dtype: int | None = None, k: int = 0) -> Any:
    """Ones on the k-th diagonal of a matrix shaped as x."""
    from_onnx = ctx.dtype(dtype) if dtype else x.dtype.numpy
    return ctx.tensor(np.eye(*x.shape, k=k, dtype=from_onnx))


@rule("Range", raw=True)
def range_(start: Any, limit: Any, delta: Any, *, ctx: Any, **_: Any) -> Any:
    """start, start + delta, ... below limit. The length has to be known on the host."""
    begin, stop, step = (np.asarray(ctx.host(v)).reshape(()) for v in (start, limit, delta))
    count = max(int(np.ceil((stop - begin) / step)), 0)
    made = begin + np.arange(count) * step
    return ctx.tensor(made.astype(begin.dtype))


@rule("ReverseSequence")
@kernel
def reverse_sequence(x: Array, lengths: Array, *, batch_axis: int = 1, time_axis: int = 0) -> Array:
    """The first steps of each sequence in reverse order, the rest as it is."""
    moved = jnp.moveaxis(x, (batch_axis, time_axis), (0, 1))
    steps = jnp.arange(moved.shape[1])[None]
    ends = lengths[:, None].astype(steps.dtype)
    source = jnp.where(steps < ends, ends - 1 - steps, steps)
    turned = moved[jnp.arange(moved.shape[0])[:, None], source]
    return jnp.moveaxis(turned, (0, 1), (batch_axis, time_axis))
