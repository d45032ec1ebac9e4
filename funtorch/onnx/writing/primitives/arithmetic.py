"""Elementwise primitives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funtorch.onnx.writing.table import NoRule, primitive
from funtorch.onnx.writing.values import Val

_ONE_TO_ONE = {
    "abs": "Abs", "neg": "Neg", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "exp": "Exp",
    "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "sin": "Sin", "cos": "Cos", "tan": "Tan",
    "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh",
    "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "sqrt": "Sqrt", "erf": "Erf",
    "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal",
    "div": "Div", "sub": "Sub", "pow": "Pow",
}  # fmt: skip


def _one_to_one(name: str, kind: str) -> None:
    @primitive(name)
    def write(g: Any, eqn: Any, *xs: Val) -> Any:
        if xs[0].dtype == np.bool_ and kind in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
            xs = tuple(g.cast(x, np.int32) for x in xs)
        if kind == "Pow" and xs[1].dtype != xs[0].dtype:
            xs = xs[0], g.cast(xs[1], xs[0].dtype)
        if name == "sign" and xs[0].dtype.kind == "u":
            return g.cast(g.cast(xs[0], np.bool_), xs[0].dtype)
        return g.op(kind, *xs)


for _name, _kind in _ONE_TO_ONE.items():
    _one_to_one(_name, _kind)


def _by_type(name: str, number: str, boolean: str) -> None:
    @primitive(name)
    def write(g: Any, eqn: Any, *xs: Val) -> Any:
        return g.op(boolean if xs[0].dtype == np.bool_ else number, *xs)


for _name, _number, _boolean in (
    ("add", "Add", "Or"), ("add_any", "Add", "Or"), ("mul", "Mul", "And"), ("max", "Max", "Or"),
    ("min", "Min", "And"), ("and", "BitwiseAnd", "And"), ("or", "BitwiseOr", "Or"),
    ("xor", "BitwiseXor", "Xor"), ("not", "BitwiseNot", "Not"),
):  # fmt: skip
    _by_type(_name, _number, _boolean)


_IDENTITIES = ("stop_gradient", "copy", "copy_p", "reduce_precision", "pvary", "name", "device_put",
               "optimization_barrier", "sharding_constraint", "tie", "pin", "unpin")  # fmt: skip


@primitive(*_IDENTITIES)
def unchanged(g: Any, eqn: Any, *xs: Val) -> Any:
    return list(xs)


@primitive("ne")
def ne(g: Any, eqn: Any, x: Val, y: Val) -> Any:
    return g.op("Xor", x, y) if x.dtype == np.bool_ else g.op("Not", g.op("Equal", x, y))


@primitive("convert_element_type")
def convert_element_type(g: Any, eqn: Any, x: Val, *_: Any) -> Any:
    return g.cast(x, eqn.params["new_dtype"])


@primitive("rsqrt")
def rsqrt(g: Any, eqn: Any, x: Val) -> Any:
    return g.op("Reciprocal", g.op("Sqrt", x))


@primitive("square")
def square(g: Any, eqn: Any, x: Val) -> Any:
    return g.op("Mul", x, x)


@primitive("cbrt")
def cbrt(g: Any, eqn: Any, x: Val) -> Any:
    root = g.op("Pow", g.op("Abs", x), g.const(1 / 3, x.dtype))
    return g.op("Mul", g.op("Sign", x), root)


@primitive("integer_pow")
def integer_pow(g: Any, eqn: Any, x: Val) -> Any:
    n = eqn.params["y"]
    if n == 0:
        return g.const(1, x.dtype).broadcast(x.shape)
    if not -4 <= n <= 4:
        return g.op("Pow", x, g.const(n, x.dtype))
    made = x
    for _ in range(abs(n) - 1):
        made = g.op("Mul", made, x)
    return made if n > 0 else g.op("Reciprocal", made)


@primitive("exp2")
def exp2(g: Any, eqn: Any, x: Val) -> Any:
    return g.op("Pow", g.const(2, x.dtype), x)


@primitive("log1p")
def log1p(g: Any, eqn: Any, x: Val) -> Any:
    """log(1 + x), by Kahan's way exact near zero."""
    one = g.const(1, x.dtype)
    u = g.op("Add", one, x)
    rest = g.op("Sub", u, one)
    scaled = g.op("Div", g.op("Mul", g.op("Log", u), x), rest)
    infinite = g.op("Equal", u, g.const(np.inf, x.dtype))
    tiny = g.op("Equal", rest, g.const(0, x.dtype))
    return g.where(tiny, x, g.where(infinite, x, scaled))


@primitive("expm1")
def expm1(g: Any, eqn: Any, x: Val) -> Any:
    """exp(x) - 1, by Kahan's way exact near zero."""
    one = g.const(1, x.dtype)
    u = g.op("Exp", x)
    rest = g.op("Sub", u, one)
    near = g.op("Less", g.op("Abs", x), g.const(0.5, x.dtype))
    scaled = g.op("Div", g.op("Mul", rest, x), g.op("Log", u))
    tiny = g.op("Equal", u, one)
    return g.where(tiny, x, g.where(near, scaled, rest))


@primitive("round")
def round_(g: Any, eqn: Any, x: Val) -> Any:
    if int(eqn.params["rounding_method"]) == 1:
        return g.op("Round", x)
    away = g.op("Floor", g.op("Add", g.op("Abs", x), g.const(0.5, x.dtype)))
    return g.op("Mul", g.op("Sign", x), away)


@primitive("is_finite")
def is_finite(g: Any, eqn: Any, x: Val) -> Any:
    return g.op("Not", g.op("Or", g.op("IsNaN", x), g.op("IsInf", x)))


@primitive("rem")
def rem(g: Any, eqn: Any, x: Val, y: Val) -> Any:
    if x.dtype.kind in "fV" or (y.array is not None and y.array.all()):
        return g.op("Mod", x, y, fmod=1)
    none = g.op("Equal", y, g.const(0, y.dtype))  # there, as in XLA, x is left
    return g.where(none, x, g.op("Mod", x, g.where(none, g.const(1, y.dtype), y), fmod=1))


@primitive("atan2")
def atan2(g: Any, eqn: Any, y: Val, x: Val) -> Any:
    zero, pi = g.const(0, x.dtype), g.const(math.pi, x.dtype)
    at_axis = g.op("Equal", x, zero)
    safe = g.where(at_axis, g.const(1, x.dtype), x)
    angle = g.op("Atan", g.op("Div", y, safe))
    sign = g.where(g.op("Less", y, zero), g.op("Neg", pi), pi)
    turned = g.where(g.op("Less", x, zero), g.op("Add", angle, sign), angle)
    half = g.op("Mul", g.op("Sign", y), g.const(math.pi / 2, x.dtype))
    return g.where(at_axis, half, turned)


@primitive("clamp")
def clamp(g: Any, eqn: Any, low: Val, x: Val, high: Val) -> Any:
    return g.op("Min", g.op("Max", x, low), high)


@primitive("select_n")
def select_n(g: Any, eqn: Any, which: Val, *cases: Val) -> Any:
    if which.dtype == np.bool_:
        return g.where(which, cases[1], cases[0]) if len(cases) == 2 else cases[0]
    made = cases[-1]
    for i in reversed(range(len(cases) - 1)):
        made = g.where(g.op("Equal", which, g.const(i, which.dtype)), cases[i], made)
    return made


@primitive("jit:signbit")
def signbit(g: Any, eqn: Any, x: Val) -> Any:
    """Below zero, or minus zero, whose inverse is."""
    zero = g.const(0, x.dtype)
    negative = g.op("Less", x, zero)
    if x.dtype.kind not in "fV":
        return negative
    inverse = g.op("Less", g.op("Reciprocal", x), zero)
    return g.op("Or", negative, g.op("And", g.op("Equal", x, zero), inverse))


def _ordered(name: str, kind: str) -> None:
    """Comparisons in which NaN is the largest number there is."""

    @primitive(name)
    def write(g: Any, eqn: Any, x: Val, y: Val) -> Any:
        plain = g.op(kind, x, y)
        if x.dtype.kind not in "fV":
            return plain
        last, first = g.op("IsNaN", y), g.op("IsNaN", x)
        if kind == "Equal":
            return g.op("Or", plain, g.op("And", first, last))
        return g.op("Or", plain, last if kind != "Less" else g.op("And", last, g.op("Not", first)))


_ordered("le_to", "LessOrEqual")
_ordered("lt_to", "Less")
_ordered("eq_to", "Equal")


@primitive("nextafter")
def nextafter(g: Any, eqn: Any, x: Val, y: Val) -> Any:
    raise NoRule("ONNX cannot step from one number to the next")


# M. Giles, Approximating the erfinv function (2010).
_CENTRE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
           -0.00125372503, -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
         -0.0076224613, 0.00943887047, 1.00167406, 2.83297682)  # fmt: skip


def polynomial(g: Any, x: Val, coefficients: Any) -> Val:
    """By Horner's rule, the highest power first."""
    made = g.const(coefficients[0], x.dtype)
    for c in coefficients[1:]:
        made = g.op("Add", g.op("Mul", made, x), g.const(c, x.dtype))
    return made  # type: ignore[no-any-return]


# Press et al., Numerical Recipes, erfcc: relative error below 1.2e-7 everywhere.
_ERFC = (0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418,
         0.37409196, 1.00002368, -1.26551223)  # fmt: skip


@primitive("erfc")
def erfc(g: Any, eqn: Any, x: Val) -> Any:
    """1 - erf(x), but above a half by a series, for there the difference has no digits left."""
    one = g.const(1, x.dtype)
    plain = g.op("Sub", one, g.op("Erf", x))
    t = g.op("Reciprocal", g.op("Add", one, g.op("Mul", g.const(0.5, x.dtype), g.op("Abs", x))))
    power = g.op("Sub", polynomial(g, t, _ERFC), g.op("Mul", x, x))
    far = g.op("Mul", t, g.op("Exp", power))
    return g.where(g.op("Greater", x, g.const(0.5, x.dtype)), far, plain)


@primitive("erf_inv")
def erf_inv(g: Any, eqn: Any, x: Val) -> Any:
    one = g.const(1, x.dtype)
    w = g.op("Neg", g.op("Log", g.op("Mul", g.op("Sub", one, x), g.op("Add", one, x))))
    centre = polynomial(g, g.op("Sub", w, g.const(2.5, x.dtype)), _CENTRE)
    tail = polynomial(g, g.op("Sub", g.op("Sqrt", w), g.const(3, x.dtype)), _TAIL)
    factor = g.where(g.op("Less", w, g.const(5, x.dtype)), centre, tail)
    edge = g.op("Equal", g.op("Abs", x), one)
    infinite = g.op("Mul", x, g.const(np.inf, x.dtype))
    return g.where(edge, infinite, g.op("Mul", factor, x))


_LANCZOS = (676.520368121885098567009190444019, -1259.13921672240287047156078755283,
            771.3234287776530788486528258894, -176.61502916214059906584551354,
            12.507343278686904814458936853, -0.13857109526572011689554706984971,
            9.984369578019570859563e-6, 1.50563273514931155834e-7)  # fmt: skip


@primitive("lgamma")
def lgamma(g: Any, eqn: Any, x: Val) -> Any:
    """Lanczos's approximation, reflected below a half."""
    dtype = x.dtype

    def c(value: float) -> Val:
        return g.const(value, dtype)  # type: ignore[no-any-return]

    low = g.op("Less", x, c(0.5))
    z = g.op("Sub", g.where(low, g.op("Sub", c(1), x), x), c(1))
    total = c(0.99999999999980993227684700473478)
    for i, a in enumerate(_LANCZOS):
        total = g.op("Add", total, g.op("Div", c(a), g.op("Add", z, c(i + 1))))
    t = g.op("Add", z, c(7.5))
    main = g.op("Mul", g.op("Add", z, c(0.5)), g.op("Log", t))
    main = g.op("Add", g.op("Sub", main, t), g.op("Log", total))
    main = g.op("Add", main, c(0.5 * math.log(2 * math.pi)))
    part = g.op("Sub", x, g.op("Floor", x))
    sine = g.op("Sin", g.op("Mul", part, c(math.pi)))
    mirrored = g.op("Sub", c(math.log(math.pi)), g.op("Add", g.op("Log", sine), main))
    return g.where(low, mirrored, main)


@primitive("digamma")
def digamma(g: Any, eqn: Any, x: Val) -> Any:
    """The asymptotic series after six steps upwards; below zero by reflection."""
    dtype = x.dtype

    def c(value: float) -> Val:
        return g.const(value, dtype)  # type: ignore[no-any-return]

    low = g.op("Less", x, c(0.5))
    z = g.where(low, g.op("Sub", c(1), x), x)
    total = c(0)
    for i in range(8):
        total = g.op("Sub", total, g.op("Reciprocal", g.op("Add", z, c(i))))
    z = g.op("Add", z, c(8))
    inverse = g.op("Reciprocal", g.op("Mul", z, z))
    series = polynomial(g, inverse, (1 / 240, -1 / 252, 1 / 120, -1 / 12, 0))
    main = g.op("Sub", g.op("Log", z), g.op("Div", c(0.5), z))
    main = g.op("Add", g.op("Add", main, series), total)
    angle = g.op("Mul", x, c(math.pi))
    mirrored = g.op("Sub", main, g.op("Div", c(math.pi), g.op("Tan", angle)))
    return g.where(low, mirrored, main)


def _unsigned(dtype: Any) -> Any:
    return np.dtype(f"u{np.dtype(dtype).itemsize}")


@primitive("shift_left")
def shift_left(g: Any, eqn: Any, x: Val, by: Val) -> Any:
    kind = _unsigned(x.dtype)
    made = g.op("BitShift", g.cast(x, kind), g.cast(by, kind), direction="LEFT")
    return g.cast(made, x.dtype)


@primitive("shift_right_logical")
def shift_right_logical(g: Any, eqn: Any, x: Val, by: Val) -> Any:
    kind = _unsigned(x.dtype)
    made = g.op("BitShift", g.cast(x, kind), g.cast(by, kind), direction="RIGHT")
    return g.cast(made, x.dtype)


@primitive("shift_right_arithmetic")
def shift_right_arithmetic(g: Any, eqn: Any, x: Val, by: Val) -> Any:
    if x.dtype.kind == "u":
        return g.op("BitShift", x, by, direction="RIGHT")
    last = g.const(8 * x.dtype.itemsize - 1, np.int64)  # more than that leaves the sign only
    by = g.cast(by, np.int64)
    outside = g.op("Or", g.op("Less", by, g.const(0, np.int64)), g.op("Greater", by, last))
    by = g.where(outside, last, by)
    if x.dtype.itemsize == 8:
        by = g.op("Min", by, g.const(62, np.int64))
    factor = g.op("Pow", g.const(2, np.int64), by)
    wide = g.cast(x, np.int64)
    rest = g.op("Mod", wide, factor)
    return g.cast(g.op("Div", g.op("Sub", wide, rest), factor), x.dtype)
