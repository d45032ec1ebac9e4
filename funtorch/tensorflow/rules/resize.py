"""Resize, Upsample and GridSample: a few weighted taps per axis or per point."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.onnx.resize import coordinates, nearest, output_sizes, taps
from funtorch.tensorflow.emission import as_shape, extents, rule

Host = np.ndarray[Any, Any]


def _along(x: Any, axis: int, scale: float, where: Host, choice: dict[str, Any]) -> Any:
    n = x.shape[axis]
    shape = [1] * x.shape.rank
    shape[axis] = len(where)
    if choice["mode"] == "nearest":
        index = np.clip(nearest(where, choice["nearest_mode"]), 0, n - 1)
        made = tf.gather(x, index, axis=axis)
    else:
        index, weight = taps(where, n, scale, choice)
        weight = weight.astype(x.dtype.as_numpy_dtype)
        made = tf.add_n([
            tf.gather(x, index[:, k], axis=axis) * weight[:, k].reshape(shape)
            for k in range(index.shape[1])
        ])  # fmt: skip
    if choice["transform"] == "tf_crop_and_resize":
        outside = ((where < 0) | (where > n - 1)).reshape(shape)
        made = tf.where(outside, tf.cast(choice["extrapolation"], made.dtype), made)
    return made


def _along_unknown(x: Any, axis: int, scale: Any, target: Any, choice: dict[str, Any]) -> Any:
    """One axis of an extent that is known only when the graph runs: nearest or linear."""
    n = tf.cast(extents(x)[axis], tf.float64)
    if target is None:
        scale = tf.cast(scale, tf.float64)
        out = tf.floor(n * scale)
    else:
        out = tf.cast(target, tf.float64)
        scale = out / n
    at = tf.range(out, dtype=tf.float64)
    transform, mode = choice["transform"], choice["mode"]
    if transform == "align_corners":
        at = at * (n - 1) / tf.maximum(out - 1, 1)
    elif transform == "asymmetric":
        at = at / scale
    elif transform in ("half_pixel", "pytorch_half_pixel"):
        at = (at + 0.5) / scale - 0.5
    else:
        raise NotImplementedError(f"Resize with {transform!r} of unknown extents")
    if mode == "nearest" and choice["nearest_mode"] == "floor":
        return tf.gather(x, tf.cast(tf.clip_by_value(tf.floor(at), 0, n - 1), tf.int64), axis=axis)
    if mode == "nearest" and choice["nearest_mode"] == "round_prefer_floor":
        near = tf.clip_by_value(tf.math.ceil(at - 0.5), 0, n - 1)
        return tf.gather(x, tf.cast(near, tf.int64), axis=axis)
    if mode != "linear":
        raise NotImplementedError(f"Resize with {mode!r} of unknown extents")
    low = tf.floor(at)
    share = tf.cast(at - low, x.dtype)
    share = tf.reshape(share, (-1, *(1,) * (x.shape.rank - 1 - axis)))
    ends = [tf.gather(x, tf.cast(tf.clip_by_value(p, 0, n - 1), tf.int64), axis=axis)
            for p in (low, low + 1)]  # fmt: skip
    return ends[0] * (1 - share) + ends[1] * share


@rule("Upsample", until=8)
def upsample_attributes(x: Any, *, ctx: Any, scales: Any, mode: str = "nearest") -> Any:
    """x enlarged by constant factors."""
    return resize_10(x, np.array(scales), ctx=ctx, mode=mode)


@rule("Upsample", since=9, host="scales")
@rule("Resize", until=10, host="scales")
def resize_10(x: Any, scales: Any, *, ctx: Any, mode: str = "nearest") -> Any:
    """Resize as it was in opset 10: asymmetric coordinates, rounded down."""
    return resize(
        x, None, scales, ctx=ctx, mode=mode, coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip


@rule("Resize", since=11, host="roi scales")
def resize(
    x: Any,
    roi: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    ctx: Any,
    mode: str = "nearest",
    axes: Any = None,
    antialias: int = 0,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    nearest_mode: str = "round_prefer_floor",
) -> Any:
    """x interpolated to other extents; the batch is taken to keep its own."""
    rank = x.shape.rank
    where = [a % rank for a in (axes if axes is not None else range(rank))]
    moving = _moving(x, where, scales, sizes)
    part = [where[i] for i in moving]
    options = {
        "mode": "linear" if mode == "bilinear" else mode, "antialias": bool(antialias),
        "cubic_coeff_a": cubic_coeff_a, "exclude_outside": bool(exclude_outside),
        "extrapolation": extrapolation_value, "transform": coordinate_transformation_mode,
        "nearest_mode": nearest_mode,
    }  # fmt: skip
    targets = [] if sizes is None else as_shape(sizes)
    if any(x.shape[a] is None for a in part) or None in [targets[i] for i in moving if targets]:
        if antialias or keep_aspect_ratio_policy != "stretch":
            raise NotImplementedError(f"{ctx.where()} needs to know the extents of its input")
        for i, axis in zip(moving, part, strict=True):
            x = _along_unknown(x, axis, scales[i] if sizes is None else None,
                               None if sizes is None else sizes[i], options)  # fmt: skip
        return x
    wanted = None if sizes is None else np.array([targets[i] for i in moving])
    factors = None if scales is None or not scales.size else scales[moving]
    outs, factors = output_sizes(x.shape, part, factors, wanted, keep_aspect_ratio_policy)
    roi = np.zeros(0) if roi is None else roi
    dtype = x.dtype
    wide = x if mode == "nearest" or dtype.size >= 4 else tf.cast(x, tf.float32)
    for i, axis, out, scale in zip(moving, part, outs, factors, strict=True):
        span = (float(roi[i]), float(roi[i + len(where)])) if roi.size else (0.0, 1.0)
        at = coordinates(coordinate_transformation_mode, x.shape[axis], out, scale, span)
        wide = _along(wide, axis, scale, at, options)
    return wide if wide.dtype == dtype else tf.saturate_cast(tf.round(wide), dtype)


def _moving(x: Any, where: list[int], scales: Any, sizes: Any) -> list[int]:
    """Which of the axes change: those whose scale is not 1, or whose extent is another."""
    if scales is not None and scales.size:
        return [i for i, s in enumerate(scales) if s != 1]
    wanted = as_shape(sizes)
    return [i for i, (a, n) in enumerate(zip(where, wanted, strict=True))
            if a and (n is None or n != x.shape[a])]  # fmt: skip


@rule("GridSample")
def grid_sample(
    x: Any,
    grid: Any,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Any:
    """x: [N, C, *S] read at points. grid: [N, *O, rank of S], from -1 to 1, last dimension first."""
    if "cubic" in mode:
        raise NotImplementedError("GridSample: cubic interpolation has no rule in TensorFlow")
    n = x.shape.rank - 2
    rows = tf.transpose(x, (0, *range(2, n + 2), 1))
    at, lows, highs = [], [], []
    for i, extent in enumerate(extents(x)[2:]):
        size = tf.cast(extent, x.dtype)
        u = grid[..., n - 1 - i]
        at.append((u + 1) / 2 * (size - 1) if align_corners else ((u + 1) * size - 1) / 2)
        lows.append(tf.zeros_like(size) if align_corners else tf.zeros_like(size) - 0.5)
        highs.append(size - 1 if align_corners else size - 0.5)
    if padding_mode == "reflection":
        at = [_reflected(p, a, b) for p, a, b in zip(at, lows, highs, strict=True)]
    if padding_mode != "zeros":
        sizes = [tf.cast(e, x.dtype) for e in extents(x)[2:]]
        at = [tf.clip_by_value(p, 0, s - 1) for p, s in zip(at, sizes, strict=True)]
    if mode == "nearest":
        made = _read(rows, [tf.round(p) for p in at])
    else:
        made = _interpolated(rows, at)
    return tf.transpose(made, (0, n + 1, *range(1, n + 1)))


def _reflected(p: Any, low: Any, high: Any) -> Any:
    span = high - low
    turned = tf.math.floormod(p - low, 2 * span)
    return low + tf.where(turned > span, 2 * span - turned, turned)


def _interpolated(rows: Any, at: list[Any]) -> Any:
    """Sum over the corners around each point, with weights that are linear in each dimension."""
    base = [tf.floor(p) for p in at]
    made = 0
    for corner in np.ndindex(*(2,) * len(at)):
        places = [b + c for b, c in zip(base, corner, strict=True)]
        weight = 1
        for p, place in zip(at, places, strict=True):
            weight = weight * (1 - tf.abs(p - place))
        made = made + _read(rows, places) * weight[..., None]
    return made


def _read(rows: Any, places: list[Any]) -> Any:
    """Rows [N, *S, C] at integral places, each [N, *O]; 0 outside. -> [N, *O, C]"""
    inside, index = True, []
    for place, extent in zip(places, extents(rows)[1:-1], strict=True):
        top = tf.cast(extent, place.dtype) - 1
        inside = inside & (place >= 0) & (place <= top)
        index.append(tf.cast(tf.clip_by_value(place, 0, top), tf.int64))
    found = tf.gather_nd(rows, tf.stack(index, -1), batch_dims=1)
    return tf.where(inside[..., None], found, tf.zeros_like(found))
