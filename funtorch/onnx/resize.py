"""Resize and Upsample: per axis, a few weighted taps which are known before anything runs."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.onnx.rules import Array, ints, kernel, rule
from funtorch.tensor import Tensor

Host = np.ndarray[Any, Any]


def coordinates(mode: str, n: int, out: int, scale: float, roi: tuple[float, float]) -> Host:
    """Where in an axis of n elements each of `out` results lies."""
    x = np.arange(out, dtype=np.float64)
    whole = scale * n  # ONNX's scale may ask for a fraction of an element more than there is
    if mode == "align_corners":
        return x * (n - 1) / (whole - 1) if out > 1 else np.zeros(out)
    if mode == "asymmetric":
        return x / scale
    if mode == "tf_crop_and_resize":
        start, end = roi
        if out == 1:
            return np.full(1, 0.5 * (start + end) * (n - 1))
        return start * (n - 1) + x * (end - start) * (n - 1) / (whole - 1)
    if mode == "pytorch_half_pixel" and out == 1:
        return np.zeros(1)
    shifted = (x + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        return n / 2 * (1 - out / whole) + shifted
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return shifted
    raise NotImplementedError(f"Resize: coordinate_transformation_mode {mode!r}")


def nearest(where: Host, mode: str) -> Host:
    """The index that stands for each coordinate."""
    return {
        "round_prefer_floor": lambda: np.ceil(where - 0.5),
        "round_prefer_ceil": lambda: np.floor(where + 0.5),
        "floor": lambda: np.floor(where),
        "ceil": lambda: np.ceil(where),
    }[mode]().astype(np.int64)


def _triangle(t: Host) -> Host:
    return np.clip(1 - np.abs(t), 0, None)


def _cubic(t: Host, a: float) -> Host:
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def taps(where: Host, n: int, scale: float, options: dict[str, Any]) -> tuple[Host, Host]:
    """Indices and weights, each [out, count], of a linear or cubic kernel around coordinates."""
    cubic = options["mode"] == "cubic"
    stretch = min(scale, 1.0) if options["antialias"] else 1.0
    reach = int(np.ceil((2 if cubic else 1) / stretch))
    base = np.floor(where).astype(np.int64)
    index = base[:, None] + np.arange(1 - reach, reach + 1)
    distance = (index - where[:, None]) * stretch
    weight = _cubic(distance, options["cubic_coeff_a"]) if cubic else _triangle(distance)
    if options["exclude_outside"]:
        weight = np.where((index < 0) | (index >= n), 0, weight)
    return np.clip(index, 0, n - 1), weight / weight.sum(1, keepdims=True)


@kernel
def _resized(
    x: Array, *, axes: tuple, outs: tuple, scales: tuple, roi: tuple, options: tuple
) -> Array:
    choice = dict(options)
    dtype = x.dtype
    wide = x if choice["mode"] == "nearest" or dtype == jnp.float64 else x.astype(jnp.float32)
    for axis, out, scale, part in zip(axes, outs, scales, roi, strict=True):
        n = x.shape[axis]
        if out == n and scale == 1 and choice["transform"] != "tf_crop_and_resize":
            continue
        where = coordinates(choice["transform"], n, out, scale, part)
        wide = _along(wide, axis, n, scale, where, choice)
    if dtype.kind in "iu" and wide.dtype != dtype:
        info = jnp.iinfo(dtype)
        wide = jnp.clip(jnp.round(wide), info.min, info.max)
    return wide.astype(dtype)


def _along(x: Array, axis: int, n: int, scale: float, where: Host, choice: dict[str, Any]) -> Array:
    shape = [1] * x.ndim
    shape[axis] = len(where)
    if choice["mode"] == "nearest":
        index = np.clip(nearest(where, choice["nearest_mode"]), 0, n - 1)
        made = jnp.take(x, index, axis)
    else:
        index, weight = taps(where, n, scale, choice)
        made = sum(
            jnp.take(x, index[:, k], axis) * weight[:, k].reshape(shape).astype(x.dtype)
            for k in range(index.shape[1])
        )
    if choice["transform"] == "tf_crop_and_resize":
        outside = ((where < 0) | (where > n - 1)).reshape(shape)
        made = jnp.where(outside, jnp.asarray(choice["extrapolation"], made.dtype), made)
    return made


def output_sizes(
    shape: Any, axes: list[int], scales: Any, sizes: Any, policy: str
) -> tuple[list[int], list[float]]:
    """Output extents and scales of the axes."""
    extents = [int(shape[a]) for a in axes]
    if sizes is None or np.size(sizes) == 0:
        factors = [float(s) for s in np.asarray(scales, np.float32)]
        return [int(np.floor(n * s)) for n, s in zip(extents, factors, strict=True)], factors
    wanted = list(ints(sizes))
    factors = [w / n for w, n in zip(wanted, extents, strict=True)]
    if policy != "stretch":
        scale = min(factors) if policy == "not_larger" else max(factors)
        factors = [scale] * len(axes)
        wanted = [int(np.floor(n * scale + 0.5)) for n in extents]
    return wanted, factors


@rule("Upsample", until=8)
def upsample_attributes(
    x: Tensor, *, scales: Any = None, mode: str = "nearest", **old: Any
) -> Tensor:
    """x enlarged by constant factors."""
    if scales is None:
        scales = (1.0, 1.0, old["height_scale"], old["width_scale"])
    return upsample(x, scales, mode=mode)


@rule("Upsample", since=9, host="scales")
def upsample(x: Tensor, scales: Any, *, mode: str = "nearest") -> Tensor:
    """x enlarged by factors."""
    return resize_10(x, scales, mode=mode)


@rule("Resize", until=10, host="scales")
def resize_10(x: Tensor, scales: Any, *, mode: str = "nearest") -> Tensor:
    """Resize as it was in opset 10: asymmetric coordinates, rounded down."""
    return resize(
        x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip


@rule("Resize", since=11, host="roi scales sizes")
def resize(
    x: Tensor,
    roi: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    mode: str = "nearest",
    axes: Any = None,
    antialias: int = 0,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """x interpolated to other extents."""
    where = [a % x.ndim for a in (axes if axes is not None else range(x.ndim))]
    outs, factors = output_sizes(x.shape, where, scales, sizes, keep_aspect_ratio_policy)
    parts = [(0.0, 1.0)] * len(where)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        given = [float(v) for v in np.asarray(roi)]
        parts = list(zip(given[: len(where)], given[len(where) :], strict=True))
    options = {
        "mode": "linear" if mode == "bilinear" else mode,
        "antialias": bool(antialias),
        "cubic_coeff_a": cubic_coeff_a,
        "exclude_outside": bool(exclude_outside),
        "extrapolation": extrapolation_value,
        "transform": coordinate_transformation_mode,
        "nearest_mode": nearest_mode,
    }
    return _resized(
        x, axes=tuple(where), outs=tuple(outs), scales=tuple(factors), roi=tuple(parts),
        options=tuple(options.items()),
    )  # fmt: skip
