"""Quantising and its inverse, per tensor, per axis or in blocks.

What is quantised and read again at once is a fake quantisation: its gradient passes straight through
where x is within the range, as PyTorch's does, and none goes to the scale.
"""

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
    ctx.quantised[ctx.outputs[0]] = x
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
    made = tf.cast(made, ctx.kind(output_dtype) if output_dtype else scale.dtype)
    source = _source(ctx)
    if source is None:
        return made
    near = tf.abs(made - source) <= 0.50001 * tf.abs(_spread(scale, x, axis, block_size))
    through = tf.where(near, source, tf.zeros_like(source))
    return tf.stop_gradient(made) + (through - tf.stop_gradient(through))  # the value is made's


def _source(ctx: Any) -> Any:
    """What was quantised, perhaps clipped, to make the input of the present step; else None."""
    name = ctx.step.inputs[0]
    maker = next((s for s in ctx.now.steps if name in s.outputs and s.op == "Clip"), None)
    return ctx.quantised.get(maker.inputs[0] if maker else name)
