"""Arithmetic and elementary functions, element by element."""

from __future__ import annotations

from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from onnx.helper import tensor_dtype_to_np_dtype

from funtorch.onnx.rules import Array, kernel, rule
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor

_UNARY = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh",
    "Atan": "atan", "Atanh": "atanh", "BitwiseNot": "bitwise_not", "Ceil": "ceil", "Cos": "cos",
    "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Floor": "floor", "IsNaN": "isnan", "Log": "log",
    "Neg": "neg", "Not": "logical_not", "Reciprocal": "reciprocal", "Round": "round",
    "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt",
    "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "And": "logical_and", "Or": "logical_or",
    "Xor": "logical_xor", "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor", "Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt",
    "LessOrEqual": "le",
}  # fmt: skip


def _unary(name: str, ours: str) -> None:
    facade = TABLE[ours].facade
    rule(name)(lambda x: facade(x))


def _binary(name: str, ours: str) -> None:
    facade = TABLE[ours].facade
    rule(name)(lambda a, b, *, broadcast=0, axis=None: facade(a, aligned(a, b, axis)))


for _name, _ours in _UNARY.items():
    _unary(_name, _ours)
for _name, _ours in _BINARY.items():
    _binary(_name, _ours)


def aligned(a: Tensor, b: Tensor, axis: int | None) -> Tensor:
    """b as it broadcasts onto a: before opset 7 an axis could say where it begins."""
    if axis is None:
        return b
    ones = a.ndim - axis % a.ndim - b.ndim
    return b.reshape(tuple(b.shape) + (1,) * ones)


@rule("Identity", raw=True)
def identity(x: Any) -> Any:
    """x, of any kind."""
    return x


@rule("Div")
def div(a: Tensor, b: Tensor, *, broadcast: int = 0, axis: int | None = None) -> Tensor:
    """Quotient; of integers, rounded towards zero."""
    return _div(a, aligned(a, b, axis))


@kernel
def _div(a: Array, b: Array) -> Array:
    if jnp.issubdtype(a.dtype, jnp.integer):
        return lax.div(*jnp.broadcast_arrays(a, b))
    return a / b


@rule("Pow")
def power(a: Tensor, b: Tensor, *, broadcast: int = 0, axis: int | None = None) -> Tensor:
    """a to the power of b, in the type of a."""
    return _power(a, aligned(a, b, axis))


@kernel
def _power(a: Array, b: Array) -> Array:
    if jnp.issubdtype(b.dtype, jnp.floating) and not jnp.issubdtype(a.dtype, jnp.floating):
        return jnp.power(a.astype(b.dtype), b).astype(a.dtype)
    return jnp.power(a, b.astype(a.dtype) if b.dtype.kind == "f" else b).astype(a.dtype)


@rule("Mod")
@kernel
def mod(a: Array, b: Array, *, fmod: int = 0) -> Array:
    """Remainder with the sign of b, or with fmod of a."""
    return jnp.fmod(a, b) if fmod else jnp.mod(a, b)


@rule("BitShift")
@kernel
def bit_shift(a: Array, b: Array, *, direction: str) -> Array:
    """Bits moved up or down, the sign kept; shifts outside of the width move everything out."""
    a, b = jnp.broadcast_arrays(a, b)
    if direction == "LEFT":
        return lax.shift_left(a, b)
    if jnp.issubdtype(a.dtype, jnp.signedinteger):
        return lax.shift_right_arithmetic(a, b)
    return lax.shift_right_logical(a, b)


@rule("Sum")
def total(*tensors: Tensor) -> Tensor:
    """Sum of all inputs, broadcast."""
    return reduce(lambda a, b: a + b, tensors)


@rule("Mean")
def average(*tensors: Tensor) -> Tensor:
    """Mean of all inputs, broadcast."""
    return reduce(lambda a, b: a + b, tensors) / len(tensors)


@rule("Max")
def largest(*tensors: Tensor) -> Tensor:
    """Greatest of all inputs, broadcast."""
    return reduce(_maximum, tensors)


@rule("Min")
def least(*tensors: Tensor) -> Tensor:
    """Least of all inputs, broadcast."""
    return reduce(_minimum, tensors)


@kernel
def _maximum(a: Array, b: Array) -> Array:
    return jnp.maximum(a, b)


@kernel
def _minimum(a: Array, b: Array) -> Array:
    return jnp.minimum(a, b)


@rule("IsInf")
@kernel
def is_inf(x: Array, *, detect_negative: int = 1, detect_positive: int = 1) -> Array:
    """Which elements are infinite, of the signs asked for."""
    wide = x.astype(jnp.float32) if x.dtype.itemsize == 1 else x
    found = jnp.zeros(x.shape, bool)
    if detect_negative:
        found = found | jnp.isneginf(wide)
    if detect_positive:
        found = found | jnp.isposinf(wide)
    return found


@rule("BitCast")
def bit_cast(x: Tensor, *, to: int) -> Tensor:
    """The same bits as another type of the same width."""
    return _bit_cast(x, name=tensor_dtype_to_np_dtype(to).name)


@kernel
def _bit_cast(x: Array, *, name: str) -> Array:
    target = np.dtype(name)
    if target.kind == "b":
        return x.astype(bool)
    if x.dtype.kind == "b":
        x = x.astype(jnp.uint8)
    return lax.bitcast_convert_type(x, target)
