"""Rules of elementwise ops: arithmetic, comparisons, activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val

ONE_TO_ONE = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "sin": "Sin",
    "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh",
    "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "erf": "Erf",
    "neg": "Neg", "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softsign": "Softsign",
    "_mish": "Mish", "_hardswish": "HardSwish", "bitwise_not": "BitwiseNot",
}  # fmt: skip
"""Ops that have the same meaning there and here, for floating-point values at least."""

_ANY_TYPE = {"neg", "relu", "bitwise_not"}


def floating(x: Val) -> bool:
    """Is this a floating-point value?"""
    return x.dtype.kind in "fV"


def same(x: Any) -> Any:
    """The other operand as it is."""
    return x


def _one_to_one(name: str, kind: str) -> None:
    @rule(name)
    def write(g: Any, self: Val) -> Any:
        if (not floating(self) and name not in _ANY_TYPE) or self.dtype == np.bool_:
            return NotImplemented
        return g.op(kind, self)


for _name, _kind in ONE_TO_ONE.items():
    _one_to_one(_name, _kind)


def pair(g: Any, a: Any, b: Any) -> tuple[Val, Val]:
    """Two operands as values; a number takes the other's dtype."""
    dtype = a.dtype if isinstance(a, Val) else b.dtype
    return (
        a if isinstance(a, Val) else g.const(a, dtype),
        b if isinstance(b, Val) else g.const(b, dtype),
    )


def _binary(name: str, kind: str, boolean: str | None = None) -> None:
    @rule(name)
    def write(g: Any, self: Any, other: Any) -> Any:
        x, y = pair(g, self, other)
        if x.dtype == np.bool_:
            return NotImplemented if boolean is None else g.op(boolean, x, y)
        return g.op(kind, x, y)


for _name, _kind, _bool in (
    ("mul", "Mul", "And"), ("maximum", "Max", "Or"), ("minimum", "Min", "And"),
    ("eq", "Equal", "Equal"), ("lt", "Less", None), ("le", "LessOrEqual", None),
    ("gt", "Greater", None), ("ge", "GreaterOrEqual", None), ("bitwise_and", "BitwiseAnd", "And"),
    ("bitwise_or", "BitwiseOr", "Or"), ("bitwise_xor", "BitwiseXor", "Xor"),
):  # fmt: skip
    _binary(_name, _kind, _bool)


def _scaled(g: Any, x: Any, alpha: Any) -> Any:
    if alpha == 1:
        return x
    return g.op("Mul", x, g.like(alpha, x)) if isinstance(x, Val) else x * alpha


@rule("add")
def add(g: Any, self: Any, other: Any, alpha: Any) -> Any:
    x, y = pair(g, self, _scaled(g, other, alpha))
    return NotImplemented if x.dtype == np.bool_ else g.op("Add", x, y)


@rule("sub")
def sub(g: Any, self: Any, other: Any, alpha: Any) -> Any:
    return g.op("Sub", *pair(g, self, _scaled(g, other, alpha)))


@rule("rsub")
def rsub(g: Any, self: Any, other: Any, alpha: Any) -> Any:
    return g.op("Sub", *pair(g, other, _scaled(g, self, alpha)))


@rule("_true_divide")
def true_divide(g: Any, self: Any, other: Any) -> Any:
    return g.op("Div", *pair(g, self, other))


@rule("pow")
def pow_(g: Any, self: Any, exponent: Any) -> Any:
    x, y = pair(g, self, exponent)
    if not floating(x):
        return NotImplemented
    if y.array is not None and y.array.size == 1:
        known = {1: lambda: x, 2: lambda: g.op("Mul", x, x), 0.5: lambda: g.op("Sqrt", x),
                 -1: lambda: g.op("Reciprocal", x)}.get(y.array.item())  # fmt: skip
        if known is not None:
            return known()
    return g.op("Pow", x, y)


@rule("ne")
def ne(g: Any, self: Any, other: Any) -> Any:
    return g.op("Not", g.op("Equal", *pair(g, self, other)))


def truth(g: Any, x: Val) -> Val:
    """Is it not zero?"""
    return x if x.dtype == np.bool_ else g.cast(x, np.bool_)  # type: ignore[no-any-return]


def _logical(name: str, kind: str) -> None:
    @rule(name)
    def write(g: Any, self: Val, other: Val) -> Any:
        return g.op(kind, truth(g, self), truth(g, other))


for _name, _kind in (("logical_and", "And"), ("logical_or", "Or"), ("logical_xor", "Xor")):
    _logical(_name, _kind)


@rule("logical_not")
def logical_not(g: Any, self: Val) -> Any:
    return g.op("Not", truth(g, self))


@rule("isnan")
def isnan(g: Any, self: Val) -> Any:
    return g.op("IsNaN", self) if floating(self) else NotImplemented


@rule("isinf")
def isinf(g: Any, self: Val) -> Any:
    return g.op("IsInf", self) if floating(self) else NotImplemented


@rule("abs", "absolute")
def abs_(g: Any, self: Val) -> Any:
    return g.op("Abs", self) if self.dtype != np.bool_ else NotImplemented


@rule("sign", "sgn")
def sign(g: Any, self: Val) -> Any:
    return g.op("Sign", self) if self.dtype != np.bool_ else NotImplemented


@rule("positive")
def positive(g: Any, self: Val) -> Any:
    return self


def _rounding(name: str, kind: str) -> None:
    @rule(name)
    def write(g: Any, self: Val) -> Any:
        return g.op(kind, self) if floating(self) else self


for _name in ("floor", "ceil"):
    _rounding(_name, _name.capitalize())


@rule("trunc")
def trunc(g: Any, self: Val) -> Any:
    if not floating(self):
        return self
    return g.op("Mul", g.op("Sign", self), g.op("Floor", g.op("Abs", self)))


@rule("round")
def round_(g: Any, self: Val, decimals: int) -> Any:
    return g.op("Round", self) if decimals == 0 and floating(self) else NotImplemented


@rule("rsqrt")
def rsqrt(g: Any, self: Val) -> Any:
    return g.op("Reciprocal", g.op("Sqrt", self))


def _times(name: str, factor: float) -> None:
    @rule(name)
    def write(g: Any, self: Val) -> Any:
        return g.op("Mul", self, g.like(factor, self))


_times("deg2rad", math.pi / 180)
_times("rad2deg", 180 / math.pi)


@rule("clamp")
def clamp(g: Any, self: Val, low: Any, high: Any) -> Any:
    if not floating(self) or any(isinstance(b, Val) and b.ndim for b in (low, high)):
        return NotImplemented
    bounds = [None if b is None else g.like(b, self) for b in (low, high)]
    return clipped(g, self, *bounds)


def clipped(g: Any, x: Val, low: Val | None, high: Val | None) -> Any:
    """Clip with 0-d bounds. Half precision has no kernel in onnxruntime for it."""
    return g.op("Clip", x, low, high)


@rule("_where")
def where(g: Any, condition: Val, self: Any, other: Any) -> Any:
    x, y = pair(g, self, other)
    return g.op("Where", truth(g, condition), x, y)


@rule("masked_fill")
def masked_fill(g: Any, self: Val, mask: Val, value: Any) -> Any:
    value = g.cast(value, self.dtype) if isinstance(value, Val) else g.const(value, self.dtype)
    return g.op("Where", mask, value, self)


# Activations ----------------------------------------------------------------------------------


@rule("_hardtanh")
def hardtanh(g: Any, self: Val, low: Any, high: Any) -> Any:
    return clipped(g, self, g.like(low, self), g.like(high, self))


@rule("logsigmoid")
def logsigmoid(g: Any, self: Val) -> Any:
    return g.op("Neg", g.op("Softplus", g.op("Neg", self)))


@rule("gelu")
def gelu(g: Any, self: Val, approximate: str) -> Any:
    if g.opset < 20:
        return NotImplemented
    return g.op("Gelu", self, approximate=approximate)


@rule("_silu")
def silu(g: Any, self: Val) -> Any:
    return g.op("Mul", self, g.op("Sigmoid", self))


@rule("_leaky_relu")
def leaky_relu(g: Any, self: Val, slope: Any) -> Any:
    return g.op("LeakyRelu", self, alpha=float(slope))


@rule("_elu")
def elu(g: Any, self: Val, alpha: Any) -> Any:
    return g.op("Elu", self, alpha=float(alpha))


@rule("_selu")
def selu(g: Any, self: Val) -> Any:
    return g.op("Selu", self, alpha=1.6732632423543772, gamma=1.0507009873554805)


@rule("_celu")
def celu(g: Any, self: Val, alpha: Any) -> Any:
    if self.dtype != np.float32:  # all that Celu takes
        return NotImplemented
    return g.op("Celu", self, alpha=float(alpha))


@rule("_hardsigmoid")
def hardsigmoid(g: Any, self: Val) -> Any:
    return g.op("HardSigmoid", self, alpha=1 / 6, beta=0.5)


@rule("softplus")
def softplus(g: Any, self: Val, beta: Any, threshold: Any) -> Any:
    factor = g.like(beta, self)
    scaled = g.op("Mul", self, factor)
    smooth = g.op("Div", g.op("Softplus", scaled), factor)
    if threshold >= 20 and self.dtype.itemsize <= 4:  # no difference in single precision
        return smooth
    return g.where(g.op("Greater", scaled, g.like(threshold, self)), self, smooth)


@rule("softshrink")
def softshrink(g: Any, self: Val, lambd: Any) -> Any:
    return g.op("Shrink", self, bias=float(lambd), lambd=float(lambd), shape=self.shape)


@rule("hardshrink")
def hardshrink(g: Any, self: Val, lambd: Any) -> Any:
    return g.op("Shrink", self, bias=0.0, lambd=float(lambd), shape=self.shape)


@rule("tanhshrink")
def tanhshrink(g: Any, self: Val) -> Any:
    return g.op("Sub", self, g.op("Tanh", self))


@rule("_threshold")
def threshold(g: Any, self: Val, threshold: Any, value: Any) -> Any:
    test = g.op("Greater", self, g.const(threshold, self.dtype))
    return g.where(test, self, g.const(value, self.dtype))


@rule("prelu")
def prelu(g: Any, self: Val, weight: Val) -> Any:
    if not self.ndim:
        return NotImplemented
    if weight.ndim and weight.shape != (1,) and self.ndim > 2:
        weight = g.reshape(weight, (*weight.shape, *([1] * (self.ndim - 2))))  # type: ignore[misc]
    return g.op("PRelu", g.full(self), weight)


@rule("glu")
def glu(g: Any, self: Val, dim: int) -> Any:
    axis = dim % self.ndim
    half = (*self.shape[:axis], self.shape[axis] // 2, *self.shape[axis + 1 :])  # type: ignore[index]
    first, second = g.op("Split", self, n=2, axis=axis, num_outputs=2)
    for part in (first, second):
        part.shape = part.held = half
    return g.op("Mul", first, g.op("Sigmoid", second))


def _along(name: str, kind: str) -> Callable[..., Any]:
    @rule(name)
    def write(g: Any, self: Val, dim: int) -> Any:
        return g.op(kind, self, axis=dim % max(self.ndim, 1), shape=self.shape)

    return write


_along("_softmax", "Softmax")
_along("_log_softmax", "LogSoftmax")
