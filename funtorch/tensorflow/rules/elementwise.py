"""Arithmetic, comparison and elementary functions, element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import tensorflow as tf

from funtorch.tensorflow.emission import rule

_UNARY: dict[str, Callable[[Any], Any]] = {
    "Abs": tf.abs, "Acos": tf.acos, "Acosh": tf.acosh, "Asin": tf.asin, "Asinh": tf.asinh,
    "Atan": tf.atan, "Atanh": tf.atanh, "BitwiseNot": tf.bitwise.invert, "Ceil": tf.math.ceil,
    "Cos": tf.cos, "Cosh": tf.cosh, "Erf": tf.math.erf, "Exp": tf.exp, "Floor": tf.floor,
    "IsNaN": tf.math.is_nan, "Log": tf.math.log, "Neg": tf.negative, "Not": tf.logical_not,
    "Reciprocal": tf.math.reciprocal, "Round": tf.round, "Sigmoid": tf.sigmoid, "Sign": tf.sign,
    "Sin": tf.sin, "Sinh": tf.sinh, "Sqrt": tf.sqrt, "Tan": tf.tan, "Tanh": tf.tanh,
}  # fmt: skip
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": tf.add, "Sub": tf.subtract, "Mul": tf.multiply, "And": tf.logical_and,
    "Or": tf.logical_or, "Xor": tf.math.logical_xor, "BitwiseAnd": tf.bitwise.bitwise_and,
    "BitwiseOr": tf.bitwise.bitwise_or, "BitwiseXor": tf.bitwise.bitwise_xor,
    "Equal": tf.equal, "Greater": tf.greater, "GreaterOrEqual": tf.greater_equal, "Less": tf.less,
    "LessOrEqual": tf.less_equal,
    "Div": lambda a, b: tf.truncatediv(a, b) if a.dtype.is_integer else tf.divide(a, b),
}  # fmt: skip


def _unary(name: str, fn: Callable[[Any], Any]) -> None:
    rule(name)(lambda x: fn(x))


def _binary(name: str, fn: Callable[[Any, Any], Any]) -> None:
    rule(name)(lambda a, b, *, broadcast=0, axis=None: fn(a, _aligned(a, b, axis)))


for _name, _fn in _UNARY.items():
    _unary(_name, _fn)
for _name, _fn in _BINARY.items():
    _binary(_name, _fn)


def _aligned(a: Any, b: Any, axis: int | None) -> Any:
    """b as it broadcasts onto a: before opset 7 an axis could say where it begins."""
    if axis is None:
        return b
    for _ in range(a.shape.rank - axis % a.shape.rank - b.shape.rank):
        b = b[..., None]
    return b


@rule("Identity", raw=True)
def identity(x: Any) -> Any:
    """x, of any kind."""
    return tf.identity(x) if tf.is_tensor(x) else x


@rule("Pow")
def power(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None) -> Any:
    """a to the power of b, in the type of a."""
    b = _aligned(a, b, axis)
    wide = b.dtype if a.dtype.is_integer and b.dtype.is_floating else a.dtype
    return tf.cast(tf.pow(tf.cast(a, wide), tf.cast(b, wide)), a.dtype)


@rule("Mod")
def mod(a: Any, b: Any, *, fmod: int = 0) -> Any:
    """Remainder with the sign of b, or with fmod of a."""
    if a.dtype.is_floating and a.dtype.size < 4:  # TensorFlow has no kernel for halves
        return tf.cast(mod(tf.cast(a, tf.float32), tf.cast(b, tf.float32), fmod=fmod), a.dtype)
    return tf.truncatemod(a, b) if fmod else tf.math.floormod(a, b)


@rule("BitShift")
def bit_shift(a: Any, b: Any, *, direction: str) -> Any:
    """Bits moved up or down, the sign kept; shifts outside of the width move everything out."""
    width = 8 * a.dtype.size
    inside = (b >= 0) & (b < width) if a.dtype.min < 0 else b < width
    if direction == "LEFT":
        return tf.where(inside, tf.bitwise.left_shift(a, tf.where(inside, b, 0)), 0)
    if a.dtype.min < 0:
        return tf.bitwise.right_shift(a, tf.where(inside, b, width - 1))
    return tf.where(inside, tf.bitwise.right_shift(a, tf.where(inside, b, 0)), 0)


@rule("Sum")
def total(*tensors: Any) -> Any:
    """Sum of all inputs, broadcast."""
    return reduce(tf.add, tensors)


@rule("Mean")
def average(*tensors: Any) -> Any:
    """Mean of all inputs, broadcast."""
    return reduce(tf.add, tensors) / tf.cast(len(tensors), tensors[0].dtype)


@rule("Max")
def largest(*tensors: Any) -> Any:
    """Greatest of all inputs, broadcast."""
    return reduce(tf.maximum, tensors)


@rule("Min")
def least(*tensors: Any) -> Any:
    """Least of all inputs, broadcast."""
    return reduce(tf.minimum, tensors)


@rule("Clip", until=10)
def clip_attributes(x: Any, *, min: float | None = None, max: float | None = None) -> Any:
    """x within bounds."""
    bounds = [None if v is None else tf.cast(v, x.dtype) for v in (min, max)]
    return clip(x, *bounds)


@rule("Clip", since=11)
def clip(x: Any, least: Any = None, most: Any = None) -> Any:
    """x within bounds; the upper one wins."""
    x = x if least is None else tf.maximum(x, least)
    return x if most is None else tf.minimum(x, most)


@rule("Where")
def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, b elsewhere."""
    return tf.where(condition, a, b)


@rule("IsInf")
def is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    """Which elements are infinite, of the signs asked for."""
    wanted = (x > 0 if detect_positive else False) | (x < 0 if detect_negative else tf.zeros_like(x, bool))
    return tf.math.is_inf(x) & wanted


@rule("Cast")
def cast(x: Any, *, ctx: Any, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    """x as another type."""
    string = 8
    if to == string:
        return tf.strings.as_string(x)
    dtype = ctx.kind(to)
    if x.dtype == tf.string:
        return tf.strings.to_number(x, dtype)
    return x if x.dtype == dtype else converted(x, dtype, saturate)


def refuse_narrow(*dtypes: Any) -> None:
    """Raises NotImplementedError for types that TensorFlow knows but has no kernels for."""
    for dtype in dtypes:
        if dtype.name in _NARROW:
            raise NotImplementedError(f"TensorFlow does not compute with {dtype.name}")


def converted(x: Any, dtype: Any, saturate: int) -> Any:
    """x as a number of another type; floats of eight bits stop at their greatest."""
    refuse_narrow(x.dtype, dtype)
    if saturate and dtype.size == 1 and dtype.is_floating and x.dtype.is_floating:
        most = tf.cast(dtype.max, x.dtype)
        x = tf.clip_by_value(x, -most, most)
    return tf.cast(x, dtype)


_NARROW = {
    "int2", "uint2", "int4", "uint4", "float4_e2m1fn", "float8_e4m3fnuz", "float8_e5m2fnuz",
}  # fmt: skip


@rule("CastLike")
def cast_like(x: Any, like: Any, *, saturate: int = 1, round_mode: str = "up") -> Any:
    """x in the type of another tensor."""
    return converted(x, like.dtype, saturate)


@rule("BitCast")
def bit_cast(x: Any, *, ctx: Any, to: int) -> Any:
    """The same bits as another type of the same width."""
    kind = ctx.kind(to)
    return tf.cast(x, kind) if tf.bool in (x.dtype, kind) else tf.bitcast(x, kind)
