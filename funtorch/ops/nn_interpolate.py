"""Resizing images: nearest, linear, cubic and area interpolation in one to three dimensions.

Every mode but 'nearest' is separable: one small weight matrix per axis, known from the sizes alone.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.ops._declare import TABLE, Array, composite, op
from funtorch.ops._orders import by_channels
from funtorch.tensor import Tensor, size_of

Taps = tuple[np.ndarray, np.ndarray]  # (indices [out, k], weights [out, k])
_SMALL = 256
"""Up to this size an axis is resized by a matrix product: its gradient is one too, while that of a
gather is a scatter, which XLA:CPU runs an element at a time."""

# Where output pixels lie -------------------------------------------------------------------------


def _step(size: int, out: int, scale: float | None, align: bool, real: Any) -> Any:
    if align:
        return real((size - 1) / (out - 1)) if out > 1 else real(0)
    return real(1 / scale) if scale else real(size) / real(out)


def _source(size: int, out: int, scale: float | None, align: bool, real: Any) -> np.ndarray:
    step = _step(size, out, scale, align, real)
    place = np.arange(out, dtype=real)
    return place * step if align else (place + real(0.5)) * step - real(0.5)


def _linear_taps(size: int, out: int, scale: float | None, align: bool, real: Any) -> Taps:
    source = np.maximum(_source(size, out, scale, align, real), 0)
    first = np.minimum(np.floor(source).astype(np.int64), size - 1)
    second = np.minimum(first + 1, size - 1)
    weight = np.clip(source - first, 0, 1)
    return np.stack([first, second], -1), np.stack([1 - weight, weight], -1)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys, Cubic convolution interpolation (1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _cubic_taps(size: int, out: int, scale: float | None, align: bool, real: Any) -> Taps:
    source = _source(size, out, scale, align, real)
    first = np.floor(source)
    shifts = np.arange(-1, 3)
    weights = _cubic((source - first)[:, None] - shifts, -0.75)
    return np.clip(first[:, None].astype(np.int64) + shifts, 0, size - 1), weights


def _smooth_taps(width: int, shape: Callable[[Any], Any]) -> Callable[..., Taps]:
    """Antialiased: the filter is widened by the factor of reduction, as in Pillow."""

    def taps(size: int, out: int, scale: float | None, align: bool, real: Any) -> Taps:
        step = float(_step(size, out, scale, align, real))
        wide = max(step, 1.0)
        centre = step * (np.arange(out) + 0.5)
        support = width / 2 * wide
        low = np.maximum((centre - support + 0.5).astype(np.int64), 0)
        high = np.minimum((centre + support + 0.5).astype(np.int64), size)
        index = low[:, None] + np.arange(max(int((high - low).max(initial=1)), 1))
        weights = shape((index - centre[:, None] + 0.5) / wide)
        weights = np.where(index < high[:, None], weights, 0)
        total = weights.sum(-1, keepdims=True)
        return np.minimum(index, size - 1), weights / np.where(total == 0, 1, total)

    return taps


_TAPS = {
    "linear": _linear_taps,
    "cubic": _cubic_taps,
    "smooth linear": _smooth_taps(2, lambda x: np.maximum(1 - np.abs(x), 0)),
    "smooth cubic": _smooth_taps(4, lambda x: _cubic(x, -0.5)),
}


def _resized(x: Array, axis: int, taps: Taps) -> Array:
    index, weights = taps
    size, out = x.shape[axis], len(index)
    if size <= _SMALL:
        matrix = np.zeros((out, size))
        np.add.at(matrix, (np.arange(out)[:, None], index), weights)
        moved = jnp.tensordot(x, jnp.asarray(matrix, x.dtype), ((axis,), (1,)))
        return jnp.moveaxis(moved, -1, axis)
    shape = [1] * x.ndim
    shape[axis] = out
    parts = (
        jnp.take(x, index[:, k], axis=axis) * jnp.asarray(weights[:, k].reshape(shape), x.dtype)
        for k in range(index.shape[1])
    )
    return functools.reduce(jnp.add, parts)


def _check_sizes(name: str, x: Array, size: tuple[int, ...]) -> None:
    if x.ndim != len(size) + 2:
        raise RuntimeError(
            f"It is expected input_size equals to {len(size) + 2}, but got size {x.ndim}"
        )
    if any(n <= 0 for n in (*x.shape[2:], *size)):
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {list(x.shape[2:])} "
            f"output {list(size)}"
        )


@op(function=False, saves=(), grad_name="UpsampleBackward0", order=by_channels(4, 5))
def _interpolated(self: Array, size: Any, scales: Any, align: bool, kind: str) -> Array:
    """[N, C, ...] -> [N, C, *size]"""
    _check_sizes(kind, self, size)
    if not jnp.issubdtype(self.dtype, jnp.floating):
        raise NotImplementedError(
            f"\"compute_indices_weights_{kind}\" not implemented for '{self.dtype.name}'"
        )
    if not self.size:
        return jnp.zeros((*self.shape[:2], *size), self.dtype)
    real = np.float64 if self.dtype == jnp.float64 else np.float32
    x = self.astype(jnp.promote_types(self.dtype, jnp.float32))
    for d, (out, scale) in enumerate(zip(size, scales, strict=True)):
        x = _resized(x, d + 2, _TAPS[kind](x.shape[d + 2], out, scale, align, real))
    return x.astype(self.dtype)


@op(function=False, saves=(), grad_name="UpsampleNearestBackward0", order=by_channels(4, 5))
def _nearest(self: Array, size: Any, scales: Any, exact: bool) -> Array:
    _check_sizes("nearest", self, size)
    x = self
    for d, (out, scale) in enumerate(zip(size, scales, strict=True)):
        n = x.shape[d + 2]
        factor = _step(n, out, scale, False, np.float32)
        places = np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0)
        index = np.minimum(np.floor(places * factor).astype(np.int64), n - 1)
        if out % n == 0 and (index == np.arange(out) // (out // n)).all():
            x = jnp.repeat(x, out // n, axis=d + 2)
        else:
            x = jnp.take(x, index, axis=d + 2)
    return x


# The function --------------------------------------------------------------------------------------

_MODES = {
    ("linear", 3): "linear",
    ("bilinear", 4): "linear",
    ("trilinear", 5): "linear",
    ("bicubic", 4): "cubic",
}
_ALIGNED = ("linear", "bilinear", "bicubic", "trilinear")


def _numbers(name: str, given: Any, count: int) -> list[Any]:
    if isinstance(given, tuple | list):
        if len(given) != count:
            raise ValueError(
                f"Input and {name} must have the same number of spatial dimensions, but got input "
                f"with {count} of them and {name} of shape {list(given)}"
            )
        return list(given)
    return [given] * count


def _target(x: Tensor, size: Any, factor: Any, recompute: bool | None) -> tuple[Any, Any]:
    """(output sizes, scales that the formulas use)."""
    count = x.ndim - 2
    if size is not None and factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return tuple(int(n) for n in _numbers("output size", size, count)), (None,) * count
    if factor is None:
        raise ValueError("either size or scale_factor should be defined")
    factors = [float(f) for f in _numbers("scale_factor", factor, count)]
    sizes = tuple(math.floor(n * f) for n, f in zip(size_of(x)[2:], factors, strict=True))
    return sizes, (None,) * count if recompute else tuple(factors)


@composite("functional", function=False)
def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resized to `size` or by `scale_factor`. [N, C, ...] -> [N, C, *size]"""
    if mode in ("nearest", "area", "nearest-exact") and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            "| bicubic | trilinear"
        )
    sizes, scales = _target(input, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic") and input.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D "
            "tensor as input"
        )
    if mode in ("nearest", "nearest-exact") and 3 <= input.ndim <= 5:
        return _nearest(input, sizes, scales, mode == "nearest-exact")
    if mode == "area" and 3 <= input.ndim <= 5:
        return TABLE[f"adaptive_avg_pool{input.ndim - 2}d"].facade(input, sizes)
    kind = _MODES.get((mode, input.ndim))
    if kind is None:
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got "
            f"{input.ndim}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | "
            f"area | nearest-exact (got {mode})"
        )
    kind = f"smooth {kind}" if antialias else kind
    return _interpolated(input, sizes, scales, bool(align_corners), kind)


@composite("functional", function=False)
def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The old name of `interpolate`."""
    _deprecated("upsample", "interpolate")
    return interpolate(input, size, scale_factor, mode, align_corners)


@composite("functional", function=False)
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode 'nearest'."""
    _deprecated("upsample_nearest", "interpolate")
    return interpolate(input, size, scale_factor, mode="nearest")


@composite("functional", function=False)
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode 'bilinear' and aligned corners."""
    _deprecated("upsample_bilinear", "interpolate")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def _deprecated(old: str, new: str) -> None:
    warnings.warn(
        f"`nn.functional.{old}` is deprecated. Use `nn.functional.{new}` instead.", stacklevel=4
    )


@composite()
def _upsample_bilinear2d_aa(
    input: Tensor,
    output_size: Any,
    align_corners: bool,
    scales_h: float | None = None,
    scales_w: float | None = None,
    scale_factors: Any = None,
) -> Tensor:
    """Antialiased bilinear resizing, under the dispatcher's name."""
    scales = (scales_h, scales_w) if scale_factors is None else tuple(scale_factors)
    if output_size is None:
        sizes = size_of(input)[2:]
        output_size = [math.floor(n * s) for n, s in zip(sizes, scales, strict=True)]
    return _interpolated(input, tuple(output_size), scales, align_corners, "smooth linear")
