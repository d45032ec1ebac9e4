"""Fake quantisation: rounding to a grid of integers while staying in floating point.

Gradients pass straight through where the integer lies within [quant_min, quant_max], and are zero
outside. Learnable scales and zero points: Esser et al., Learned step size quantization, 2020.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from funtorch import dtypes
from funtorch.grad_mode import no_grad
from funtorch.ops._declare import TABLE, Array, Scalar, composite, op
from funtorch.tensor import Tensor, dtype_of, size_of

_SMALL_SCALE = 6.1e-5  # below it, reciprocals lose too much


def spread(vector: Any, axis: int | None, rank: int) -> Array:
    """A scale or zero point as float32 that broadcasts. [] or [1] or [C] -> [] or [1, C, 1...]"""
    made = jnp.asarray(vector, jnp.float32)
    return made.reshape(()) if axis is None else made.reshape([-1] + [1] * (rank - axis - 1))


def _grid(x: Array, scale: Array, zero: Array, low: int, high: int) -> tuple[Array, Array]:
    """(integers clamped to the range, were they within it?); the integers as floats."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    whole = jnp.round(x * (1 / scale).astype(x.dtype)) + zero.astype(x.dtype)
    return _clamped(whole, low, high)


def _clamped(whole: Array, low: int, high: int) -> tuple[Array, Array]:
    """(integers clamped to the range, were they within it?); NaN counts as below."""
    whole = jnp.where(jnp.isnan(whole), low - 1, whole)
    return jnp.clip(whole, low, high), (whole >= low) & (whole <= high)


def _value(x: Array, scale: Array, zero: Array, low: int, high: int) -> Array:
    q, _ = _grid(x, scale, zero, low, high)
    return ((q - zero.astype(q.dtype)) * scale.astype(q.dtype)).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _straight(x: Array, scale: Array, zero: Array, low: int, high: int) -> Array:
    return _value(x, scale, zero, low, high)


@_straight.defjvp
def _straight_jvp(low: int, high: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, scale, zero = primals
    _, within = _grid(x, scale, zero, low, high)
    return _straight(*primals, low, high), jnp.where(within, tangents[0], 0).astype(x.dtype)


def _check_range(low: int, high: int) -> None:
    if low > high:
        raise RuntimeError("`quant_min` should be less than or equal to `quant_max`.")


def _check_type(dtype: Any) -> None:
    if not jnp.issubdtype(dtype, jnp.floating):
        raise NotImplementedError(f"fake quantisation is not there for {jnp.dtype(dtype).name}")


@op()
def fake_quantize_per_tensor_affine(
    self: Array,
    scale: Array | Scalar,
    zero_point: Array | Scalar,
    quant_min: int,
    quant_max: int,
) -> Array:
    """(clamp(round(x / scale) + zero_point) - zero_point) * scale. [...], [] or [1] twice -> [...]"""
    _check_range(quant_min, quant_max)
    _check_type(self.dtype)
    if isinstance(zero_point, int) and not quant_min <= zero_point <= quant_max:
        raise RuntimeError("`zero_point` must be between `quant_min` and `quant_max`.")
    scale, zero_point = spread(scale, None, 0), spread(zero_point, None, 0)
    return _straight(self, scale, zero_point, quant_min, quant_max)


@op()
def fake_quantize_per_channel_affine(
    self: Array, scale: Array, zero_point: Array, axis: int, quant_min: int, quant_max: int
) -> Array:
    """`fake_quantize_per_tensor_affine` with numbers of their own for each channel.

    [..., C, ...], float32 [C], int32 or float [C] -> [..., C, ...]
    """
    _check_type(self.dtype)
    _check_channels(self, scale, zero_point, axis)
    _check_range(quant_min, quant_max)
    if scale.dtype not in (jnp.float32, jnp.bfloat16):
        raise RuntimeError(f"Scale must be Float or BFloat16, found {scale.dtype}")
    if zero_point.dtype not in (jnp.int32, jnp.float32, jnp.float16):
        raise RuntimeError(f"Zero-point must be Int32, Float or Half, found {zero_point.dtype}")
    exact = jnp.issubdtype(zero_point.dtype, jnp.integer)
    scale, zero = (spread(v, axis, self.ndim) for v in (scale, zero_point))
    if exact:
        return _straight(self, scale, zero, quant_min, quant_max)
    return _straight_around(self, scale, zero, quant_min, quant_max)


def _check_channels(x: Array, scale: Array, zero_point: Array, axis: int) -> None:
    if not -x.ndim <= axis < max(x.ndim, 1):
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-x.ndim}, {x.ndim - 1}], but got {axis})"
        )
    if axis < 0:
        raise RuntimeError("`axis` must be between 0 and number of dimensions of input")
    if scale.ndim != 1 or zero_point.ndim != 1:
        raise RuntimeError("scale and zero point should be 1-D tensors")
    if scale.shape != zero_point.shape:
        raise RuntimeError("scale and zero-point need to have the same dimensions")
    if scale.shape[0] != x.shape[axis]:
        raise RuntimeError(
            "dimensions of scale and zero-point are not consistent with input tensor"
        )


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _straight_around(x: Array, scale: Array, zero: Array, low: int, high: int) -> Array:
    """With zero points that are no integers, which are added before rounding."""
    return (_around(x, scale, zero, low, high)[0] * scale - zero * scale).astype(x.dtype)


def _around(x: Array, scale: Array, zero: Array, low: int, high: int) -> tuple[Array, Array]:
    return _clamped(jnp.round(x.astype(jnp.float32) * (1 / scale) + zero), low, high)


@_straight_around.defjvp
def _straight_around_jvp(low: int, high: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, scale, zero = primals
    _, within = _around(x, scale, zero, low, high)
    out = _straight_around(*primals, low, high)
    return out, jnp.where(within, tangents[0], 0).astype(x.dtype)


# Learnable scales and zero points ----------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5))
def _learned(x: Array, scale: Array, zero: Array, low: int, high: int, factor: float) -> Array:
    return _value(x, scale, jnp.clip(jnp.round(zero), low, high), low, high)


@_learned.defjvp
def _learned_jvp(low: int, high: int, factor: Any, primals: Any, tangents: Any) -> Any:
    x, scale, zero = primals
    dx, dscale, dzero = tangents
    whole = jnp.clip(jnp.trunc(zero + 0.5), low, high)
    q, within = _grid(x, scale, whole, low, high)
    off = jnp.where(within, (q - whole) - x / scale, q - whole)
    out = jnp.where(within, dx, 0)
    out = out + off * dscale * factor + jnp.where(within, 0, -scale) * dzero * factor
    return _learned(*primals, low, high, factor), out.astype(x.dtype)


@op()
def _fake_quantize_learnable_per_tensor_affine(
    self: Array,
    scale: Array,
    zero_point: Array,
    quant_min: int,
    quant_max: int,
    grad_factor: float = 1.0,
) -> Array:
    """Scale and zero point get gradients, times grad_factor. [...], [1], [1] -> [...]"""
    _check_range(quant_min, quant_max)
    scale, zero = scale.reshape(()), zero_point.reshape(())
    return _learned(self, scale, zero, quant_min, quant_max, grad_factor)


@op()
def _fake_quantize_learnable_per_channel_affine(
    self: Array,
    scale: Array,
    zero_point: Array,
    axis: int,
    quant_min: int,
    quant_max: int,
    grad_factor: float = 1.0,
) -> Array:
    """The same for each channel. [..., C, ...], [C], [C] -> [..., C, ...]"""
    _check_channels(self, scale, zero_point, axis)
    _check_range(quant_min, quant_max)
    shape = [-1] + [1] * (self.ndim - axis - 1)
    scale, zero = scale.reshape(shape), zero_point.reshape(shape)
    return _learned(self, scale, zero, quant_min, quant_max, grad_factor)


# Observing and quantising at once ----------------------------------------------------------------


def _chosen(least: Array, most: Array, low: int, high: int, symmetric: bool) -> tuple[Array, Array]:
    """(scale, zero point) for values from `least` to `most`; FBGEMM's ChooseQuantizationParams."""
    least, most = least.astype(jnp.float64), most.astype(jnp.float64)
    around = (least < 0) & (most > 0) & symmetric
    steps = high - low
    widest = jnp.maximum(jnp.abs(least / (steps // 2 + 1)), jnp.abs(most / (steps // 2)))
    least = jnp.where(around, -widest * (steps // 2 + 1), least).astype(jnp.float32)
    most = jnp.where(around, widest * (steps // 2), most).astype(jnp.float32)
    least, most = jnp.minimum(least, 0), jnp.maximum(most, 0)
    scale = (most.astype(jnp.float64) - least) / steps
    scale = jnp.where(jnp.isinf(1 / scale.astype(jnp.float32)), 0.1, scale)
    tiny = scale < _SMALL_SCALE
    grown = _SMALL_SCALE / scale
    least = jnp.where(tiny, jnp.where(most == 0, -_SMALL_SCALE * steps, least * grown), least)
    most = jnp.where(tiny, jnp.where(least == 0, _SMALL_SCALE * steps, most * grown), most)
    scale = jnp.where(tiny, _SMALL_SCALE, scale)
    below, above = abs(low) - jnp.abs(least / scale), abs(high) - jnp.abs(most / scale)
    zero = jnp.where(below < above, low - least / scale, high - most / scale)
    zero = jnp.where(around, (low + high) / 2, zero)
    return scale, jnp.round(jnp.clip(zero, low, high))


@op(function=False, differentiable=False)
def _observed(
    self: Array,
    observer_on: Array,
    running_min: Array,
    running_max: Array,
    scale: Array,
    zero_point: Array,
    averaging_const: float,
    quant_min: int,
    quant_max: int,
    axis: int | None,
    symmetric: bool,
) -> tuple[Array, Array, Array, Array]:
    """The next running extrema, scale and zero point; those that are if observer_on is zero."""
    over = None if axis is None else tuple(i for i in range(self.ndim) if i != axis)
    x = self.astype(running_min.dtype)
    least, most = x.min(over).reshape(running_min.shape), x.max(over).reshape(running_max.shape)

    def moved(now: Array, seen: Array) -> Array:
        return jnp.where(jnp.isinf(now), seen, now + averaging_const * (seen - now))

    least, most = moved(running_min, least), moved(running_max, most)
    chosen, zero = _chosen(least, most, quant_min, quant_max, symmetric)
    on = observer_on.reshape(()) != 0
    news = (least, most, chosen.reshape(scale.shape), zero.reshape(scale.shape))
    olds = (running_min, running_max, scale, zero_point)
    made = [jnp.where(on, a.astype(b.dtype), b) for a, b in zip(news, olds, strict=True)]
    return tuple(made)  # type: ignore[return-value]


@composite()
def fused_moving_avg_obs_fake_quant(
    self: Tensor,
    observer_on: Tensor,
    fake_quant_on: Tensor,
    running_min: Tensor,
    running_max: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    averaging_const: float,
    quant_min: int,
    quant_max: int,
    ch_axis: int,
    per_row_fake_quant: bool = False,
    symmetric_quant: bool = False,
) -> Tensor:
    """Moves the running extrema towards those of x, chooses scale and zero point, and fake-quantises.

    observer_on, fake_quant_on: [1], zero for no. The four tensors between are written in place: [] and
    [1], or [C] with per_row_fake_quant (which makes them so long if they are empty). [...] -> [...]
    """
    state = (running_min, running_max, scale, zero_point)
    rows = size_of(self)[ch_axis] if per_row_fake_quant else 1
    if per_row_fake_quant and running_min.numel() == 0:
        for tensor, first in zip(state, (float("inf"), float("-inf"), 1, 0), strict=True):
            tensor.resize_(rows).fill_(first)
    axis = ch_axis % len(size_of(self)) if per_row_fake_quant else None
    settings = (averaging_const, quant_min, quant_max, axis, symmetric_quant)
    with no_grad():
        news = TABLE["_observed"].facade(self.detach(), observer_on, *state, *settings)
        for tensor, new in zip(state, news, strict=True):
            tensor.copy_(new)
    if per_row_fake_quant:
        zero = zero_point.to(dtypes.int32)
        made = fake_quantize_per_channel_affine(self, scale, zero, axis, quant_min, quant_max)
    else:
        made = fake_quantize_per_tensor_affine(self, scale, zero_point, quant_min, quant_max)
    return TABLE["where"].facade(fake_quant_on.reshape(()) != 0, made, self.to(dtype_of(made)))
