"""Quantisation: to and from integers and narrow floats, and products of integers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np

from funtorch.onnx.convolution import _conv, pads_for
from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor


def _spread(v: Any, x: Any, axis: int, block: int) -> Any:
    """A scale or zero point as it broadcasts onto x."""
    if v is None or v.ndim == 0 or (v.size == 1 and not block):
        return v if v is None else v.reshape(())
    if block:
        return jnp.repeat(v, block, axis, total_repeat_length=x.shape[axis])
    return v.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def _limits(name: str) -> tuple[int, int]:
    info = ml_dtypes.iinfo(np.dtype(name))
    return int(info.min), int(info.max)


@kernel
def _quantized(
    x: Array,
    scale: Array,
    zero: Array | None,
    *,
    axis: int,
    block: int,
    name: str,
    precise: str,
    saturate: bool,
) -> Array:
    """x / scale + zero in the range of type `name`."""
    s, z = _spread(scale, x, axis, block), _spread(zero, x, axis, block)
    y = (x / s.astype(x.dtype)) if precise == "" else x.astype(precise) / s.astype(precise)
    if name.startswith("float"):
        y = y if z is None else y + z.astype(y.dtype)
        if saturate and name.startswith("float8"):
            most = float(jnp.finfo(name).max)
            y = jnp.clip(y.astype(jnp.float32), -most, most)
        return y.astype(np.dtype(name))
    low, high = _limits(name)
    y = jnp.round(y).astype(jnp.float32)
    y = y if z is None else y + z.astype(jnp.float32)
    return jnp.clip(y, low, high).astype(np.dtype(name))


@rule("QuantizeLinear", raw=True)
def quantize_linear(
    x: Any,
    scale: Any,
    zero: Any = None,
    *,
    ctx: Any,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Any:
    """x as integers or narrow floats, scaled and rounded."""
    if zero is not None:
        dtype = zero.dtype.numpy if isinstance(zero, Tensor) else zero.dtype
    else:
        dtype = ctx.dtype(output_dtype) if output_dtype else np.dtype(np.uint8)
    name = dtype.name
    return _quantized(
        ctx.tensor(x), ctx.tensor(scale), ctx.tensor(zero), axis=axis, block=block_size,
        name=name, precise=ctx.dtype(precision).name if precision else "",
        saturate=bool(saturate),
    )  # fmt: skip


@rule("DequantizeLinear")
def dequantize_linear(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    ctx: Any,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """(x - zero) scale."""
    out = ctx.dtype(output_dtype).name if output_dtype else scale.dtype.name
    return _dequantized(x, scale, zero, axis=axis, block=block_size, out=out)


@kernel
def _dequantized(
    x: Array, scale: Array, zero: Array | None, *, axis: int, block: int, out: str
) -> Array:
    s, z = _spread(scale, x, axis, block), _spread(zero, x, axis, block)
    wide = jnp.int32 if jnp.issubdtype(x.dtype, jnp.integer) else jnp.float32
    centred = x.astype(wide) if z is None else x.astype(wide) - z.astype(wide)
    return (centred.astype(jnp.float32) * s.astype(jnp.float32)).astype(np.dtype(out))


@rule("DynamicQuantizeLinear")
@kernel
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """uint8 with scale and zero point from the range of x."""
    low, high = jnp.minimum(jnp.min(x), 0), jnp.maximum(jnp.max(x), 0)
    scale = ((high - low) / 255).astype(x.dtype)
    zero = jnp.clip(jnp.round(-low / scale), 0, 255)
    y = jnp.clip(jnp.round(x / scale) + zero, 0, 255)
    return y.astype(jnp.uint8), scale, zero.astype(jnp.uint8)


def _rows(zero: Array | None, columns: bool) -> Any:
    """A zero point of a left factor belongs to its rows, of a right one to its columns."""
    if zero is None:
        return 0
    wide = zero.astype(jnp.int32)
    return wide if columns or wide.ndim != 1 else wide[:, None]


@rule("MatMulInteger")
@kernel
def mat_mul_integer(
    a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None
) -> Array:
    """(a - a_zero) (b - b_zero) in int32."""
    left = a.astype(jnp.int32) - _rows(a_zero, False)
    return left @ (b.astype(jnp.int32) - _rows(b_zero, True))


@rule("QLinearMatMul")
@kernel
def q_linear_mat_mul(
    a: Array,
    a_scale: Array,
    a_zero: Array,
    b: Array,
    b_scale: Array,
    b_zero: Array,
    y_scale: Array,
    y_zero: Array,
) -> Array:
    """A product of quantised matrices, quantised again."""
    product = mat_mul_integer.lower(a, b, a_zero, b_zero).astype(jnp.float32)
    wide = [s.astype(jnp.float32) for s in (a_scale, b_scale, y_scale)]
    if wide[0].ndim == 1:
        wide[0] = wide[0][:, None]
    y = jnp.round(product * (wide[0] * wide[1] / wide[2])) + y_zero.astype(jnp.float32)
    info = jnp.iinfo(y_zero.dtype)
    return jnp.clip(y, info.min, info.max).astype(y_zero.dtype)


@kernel
def _integer_conv(
    x: Array,
    w: Array,
    x_zero: Array | None,
    w_zero: Array | None,
    *,
    strides: tuple,
    widths: tuple,
    dilations: tuple,
    group: int,
) -> Array:
    left = x.astype(jnp.int32) - (0 if x_zero is None else x_zero.astype(jnp.int32))
    zero = 0 if w_zero is None else w_zero.astype(jnp.int32)
    if w_zero is not None and w_zero.ndim == 1 and w_zero.size > 1:
        zero = zero.reshape((-1,) + (1,) * (w.ndim - 1))
    return _conv.lower(
        left, w.astype(jnp.int32) - zero, None, strides=strides, widths=widths,
        dilations=dilations, group=group,
    )  # fmt: skip


def _window(x: Tensor, w: Tensor, auto_pad: str, dilations: Any, pads: Any, strides: Any) -> Any:
    n = x.ndim - 2
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    widths = pads_for(auto_pad, x.shape[2:], tuple(w.shape[2:]), strides, dilations, pads)
    return {"strides": tuple(strides), "widths": widths, "dilations": tuple(dilations)}


@rule("ConvInteger")
def conv_integer(
    x: Tensor,
    w: Tensor,
    x_zero: Any = None,
    w_zero: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Convolution of integers, in int32."""
    window = _window(x, w, auto_pad, dilations, pads, strides)
    return _integer_conv(x, w, x_zero, w_zero, **window, group=group)


@rule("QLinearConv")
def q_linear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Convolution of quantised values, quantised again."""
    window = _window(x, w, auto_pad, dilations, pads, strides)
    total = _integer_conv(x, w, x_zero, w_zero, **window, group=group)
    return _requantized(total, b, x_scale, w_scale, y_scale, y_zero)


@kernel
def _requantized(
    total: Array, b: Array | None, x_scale: Array, w_scale: Array, y_scale: Array, y_zero: Array
) -> Array:
    channel = (-1,) + (1,) * (total.ndim - 2)
    if b is not None:
        total = total + b.astype(jnp.int32).reshape(channel)
    factor = x_scale.reshape(()) * w_scale / y_scale.reshape(())
    factor = factor.reshape(channel) if factor.size > 1 else factor.reshape(())
    y = jnp.round(total.astype(jnp.float32) * factor) + y_zero.reshape(()).astype(jnp.float32)
    info = jnp.iinfo(y_zero.dtype)
    return jnp.clip(y, info.min, info.max).astype(y_zero.dtype)
