"""Quantising and its inverse, per tensor, per axis or in blocks."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from funtorch.tensorflow.emission import extents, rule
from funtorch.tensorflow.rules.elementwise import converted, refuse_narrow


def _spread(v: Any, x: Any, axis: int, block_size: int) -> Any:
    """Scales or zero points as they broadcast onto x."""
    if block_size:
        return tf.repeat(v, block_size, axis)[_room(x, axis)]
    if v.shape.rank != 1 or v.shape == [1]:
        return tf.reshape(v, ()) if v.shape.rank == 1 else v
    shape = [1] * x.shape.rank
    shape[axis] = -1
    return tf.reshape(v, shape)


def _room(x: Any, axis: int) -> Any:
    index: list[Any] = [slice(None)] * x.shape.rank
    index[axis] = slice(extents(x)[axis])
    return tuple(index)


@rule("QuantizeLinear")
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
    """x / scale + zero, rounded to even, as integers."""
    dtype = tf.uint8
    if zero is not None:
        dtype = zero.dtype
    elif output_dtype:
        dtype = ctx.kind(output_dtype)
    refuse_narrow(dtype)
    made = tf.cast(x, tf.float32) / tf.cast(_spread(scale, x, axis, block_size), tf.float32)
    if not dtype.is_integer:
        return converted(made, dtype, saturate)
    made = tf.round(made)
    if zero is not None:
        made += tf.cast(_spread(zero, x, axis, block_size), made.dtype)
    return tf.saturate_cast(made, dtype)


@rule("DequantizeLinear")
def dequantize_linear(
    x: Any,
    scale: Any,
    zero: Any = None,
    *,
    ctx: Any,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Any:
    """(x - zero) scale."""
    refuse_narrow(x.dtype)
    wide = tf.cast(x, tf.float32)
    if zero is not None:
        wide -= tf.cast(_spread(zero, x, axis, block_size), tf.float32)
    made = wide * tf.cast(_spread(scale, x, axis, block_size), tf.float32)
    return tf.cast(made, ctx.kind(output_dtype) if output_dtype else scale.dtype)
