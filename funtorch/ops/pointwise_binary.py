"""Elementwise ops of two operands, with broadcasting and type promotion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.lowering import platform
from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops._promote import refuse


def _is_bool(x: Any) -> bool:
    return getattr(x, "dtype", None) == jnp.bool_ or isinstance(x, bool)


def _same_dtype(name: str) -> Callable[..., None]:
    def check(self: Array, other: Array) -> None:
        if self.dtype != other.dtype:
            raise RuntimeError(
                f"{name} is not yet implemented for tensors with different dtypes: "
                f"{self.dtype.name} and {other.dtype.name}"
            )

    return check


def _floating(x: Array) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _arrays(self: Array | Scalar, other: Array | Scalar) -> tuple[Array, Array]:
    """Both operands as arrays of one dtype (one of them is an array already)."""
    dtype = self.dtype if hasattr(self, "dtype") else other.dtype  # type: ignore[union-attr]
    return jnp.asarray(self, dtype), jnp.asarray(other, dtype)


@op("method", "inplace", promote="arith", saves=(), layout="pointwise")
def add(self: Array | Scalar, other: Array | Scalar, *, alpha: Scalar = 1) -> Array:
    """self + alpha * other, elementwise. [...], [...] -> [...]"""
    if isinstance(alpha, int | float) and alpha == 1:
        return self + other
    return self + _scaled(other, alpha)


def _scaled(x: Array | Scalar, alpha: Scalar) -> Array | Scalar:
    if hasattr(x, "dtype") and not _floating(x) and isinstance(alpha, float):  # type: ignore[arg-type]
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    return x * alpha


def _no_bool_minus(self: Any, other: Any, alpha: Any) -> None:
    if any(_is_bool(x) for x in (self, other)):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are "
            "trying to invert a mask, use the `~` or `logical_not()` operator instead."
        )


@op(
    "method",
    "inplace",
    promote="arith",
    saves=(),
    layout="pointwise",
    aliases=("subtract",),
    check=_no_bool_minus,
)
def sub(self: Array | Scalar, other: Array | Scalar, *, alpha: Scalar = 1) -> Array:
    """self - alpha * other, elementwise. [...], [...] -> [...]"""
    if isinstance(alpha, int | float) and alpha == 1:
        return self - other
    return self - _scaled(other, alpha)


@op(
    promote="arith",
    saves=(),
    layout="pointwise",
    grad_name="RsubBackward1",
    check=_no_bool_minus,
)
def rsub(self: Array, other: Array | Scalar, *, alpha: Scalar = 1) -> Array:
    """other - alpha * self, elementwise. [...], [...] -> [...]"""
    return other - _scaled(self, alpha)


@op("method", "inplace", promote="arith", layout="pointwise", aliases=("multiply",))
def mul(self: Array | Scalar, other: Array | Scalar) -> Array:
    """self * other, elementwise. [...], [...] -> [...]"""
    if _is_bool(self) and _is_bool(other):
        return self & other
    return self * other


@op(function=False, promote="float", layout="pointwise", grad_name="DivBackward0")
def _true_divide(self: Array | Scalar, other: Array | Scalar) -> Array:
    return _divide(self, other)


def _divide(self: Array | Scalar, other: Array | Scalar) -> Array:
    shape = jnp.broadcast_shapes(jnp.shape(self), jnp.shape(other))
    if platform() == "cpu" and jnp.shape(other) != shape and not jnp.iscomplexobj(other):
        # XLA would multiply by the reciprocal of what is broadcast: the last bit of a quarter of all
        # elements differs. So the divisor looks like an array: `never` holds nowhere, which XLA does
        # not see. 1024 passes over 4096 elements: 0.37 ms as without; behind a barrier 1.34 ms.
        dividend = lax.stop_gradient(jnp.broadcast_to(self, shape))
        never = jnp.isnan(dividend) & jnp.isfinite(dividend)
        other = jnp.where(never, dividend, jnp.asarray(other, dividend.dtype))
    return jnp.true_divide(self, other)


@jax.custom_jvp
def _floor_of(self: Array, other: Array) -> Array:
    """Floored quotient; for floats by way of the remainder, as Python does it."""
    if not jnp.issubdtype(self.dtype, jnp.floating):
        safe = jnp.where(other == 0, jnp.ones_like(other), other)
        return jnp.floor_divide(self, safe)
    mod = lax.rem(self, other)
    quotient = (self - mod) / other
    quotient = jnp.where((mod != 0) & ((other < 0) != (mod < 0)), quotient - 1, quotient)
    rounded = jnp.floor(quotient)
    rounded = jnp.where(quotient - rounded > 0.5, rounded + 1, rounded)
    rounded = jnp.where(quotient == 0, jnp.copysign(jnp.zeros_like(self), self / other), rounded)
    return jnp.where(other == 0, self / other, rounded)


@_floor_of.defjvp
def _floor_of_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    out = _floor_of(*primals)
    return out, jnp.zeros_like(out)


@jax.custom_jvp
def _trunc_of(self: Array, other: Array) -> Array:
    if not jnp.issubdtype(self.dtype, jnp.floating):
        safe = jnp.where(other == 0, jnp.ones_like(other), other)
        return lax.div(self, safe)
    return jnp.trunc(self / other)


@_trunc_of.defjvp
def _trunc_of_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    out = _trunc_of(*primals)
    return out, jnp.zeros_like(out)


@op(function=False, promote="arith", layout="pointwise", grad_name="DivBackward0")
def _rounded_divide(self: Array | Scalar, other: Array | Scalar, rounding_mode: str) -> Array:
    first, second = jnp.broadcast_arrays(*_arrays(self, other))
    if first.dtype == jnp.bool_:
        raise RuntimeError("\"div_floor\" not implemented for 'Bool'")
    return _floor_of(first, second) if rounding_mode == "floor" else _trunc_of(first, second)


@composite("method", "inplace", aliases=("divide",), out="cast")
def div(self: Array, other: Array, *, rounding_mode: str | None = None) -> Array:
    """self / other; rounding_mode 'trunc' or 'floor' rounds it. [...], [...] -> [...]"""
    if rounding_mode is None:
        return _true_divide(self, other)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"'{rounding_mode}'"
        )
    return _rounded_divide(self, other, rounding_mode)


@composite("method", "inplace", out="cast")
def true_divide(self: Array, other: Array) -> Array:
    """self / other, always a fraction. [...], [...] -> [...]"""
    return _true_divide(self, other)


@composite("method", "inplace", out="cast")
def floor_divide(self: Array, other: Array) -> Array:
    """The quotient rounded down. [...], [...] -> [...]"""
    return _rounded_divide(self, other, "floor")


@jax.custom_jvp
def _remainder(x: Array, y: Array) -> Array:
    beyond = jnp.isinf(y) & jnp.isfinite(x) & (x != 0) & ((x < 0) != (y < 0))
    return jnp.where(beyond, y, jnp.remainder(x, y))


@_remainder.defjvp
def _remainder_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    return _remainder(*primals), tangents[0] - tangents[1] * _floor_of(*primals)


@op("method", "inplace", promote="arith", layout="pointwise", saves=("other", "self"))
def remainder(self: Array | Scalar, other: Array | Scalar) -> Array:
    """The remainder with the sign of the divisor (Python's %). [...], [...] -> [...]"""
    first, second = jnp.broadcast_arrays(*_arrays(self, other))
    refuse("remainder", first, "b", "c")
    if _floating(first):
        return _remainder(first, second)
    safe = jnp.where(second == 0, jnp.ones_like(second), second)
    return jnp.remainder(first, safe)


@op("method", "inplace", promote="arith", layout="pointwise", saves=("other", "self"))
def fmod(self: Array, other: Array | Scalar) -> Array:
    """The remainder with the sign of the dividend (C's fmod). [...], [...] -> [...]"""
    first, second = jnp.broadcast_arrays(*_arrays(self, other))
    refuse("fmod", first, "b", "c")
    if _floating(first):
        return lax.rem(first, second)
    return lax.rem(first, jnp.where(second == 0, jnp.ones_like(second), second))


@jax.custom_jvp
def _power(x: Array, y: Array) -> Array:
    return jnp.power(x, y)


@_power.defjvp
def _power_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (x, y), (dx, dy) = primals, tangents
    out = _power(x, y)
    # Where the exponent is 0 the base does not matter, and 0 ** y does not change with y >= 0.
    by_base = jnp.where(y == 0, jnp.zeros_like(out), y * _power(x, jnp.where(y == 0, y, y - 1)))
    log = jnp.log(jnp.where(x == 0, jnp.ones_like(x), x))
    flat = (x == 0) & (jnp.real(y) >= 0)
    by_exponent = jnp.where(flat, jnp.zeros_like(out), out * log)
    return out, by_base * dx + by_exponent * dy


@op("method", "inplace", promote="arith", layout="pointwise", grad_name="PowBackward0")
def pow(self: Array | Scalar, exponent: Array | Scalar) -> Array:
    """self to the power of exponent, elementwise. [...], [...] -> [...]"""
    if not hasattr(exponent, "dtype"):
        return _power_by_number(self, exponent)
    base, exponent = jnp.broadcast_arrays(*_arrays(self, exponent))
    if base.dtype == jnp.bool_:
        raise RuntimeError("\"pow\" not implemented for 'Bool'")
    if _floating(base):
        return _power(base, exponent)
    return _integer_power(base, exponent)


def _power_by_number(self: Array, exponent: Scalar) -> Array:
    if not _floating(self):
        if isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return (
            lax.integer_pow(self, exponent)
            if self.dtype != jnp.bool_
            else self | (exponent == 0)
            if isinstance(exponent, bool)
            else self.astype(jnp.int64) ** exponent
        )
    if (
        isinstance(exponent, int | float)
        and exponent == int_or_none(exponent)
        and (
            abs(exponent) <= 32  # type: ignore[arg-type]
        )
    ):
        return lax.integer_pow(self, int(exponent))
    if exponent == 0.5:
        return jnp.sqrt(self)
    return _power(self, jnp.full(self.shape, exponent, self.dtype))


def int_or_none(x: float) -> int | None:
    """x as an int if it is a whole number."""
    return int(x) if x == x and abs(x) < 1e9 and x == int(x) else None


def _integer_power(base: Array, exponent: Array) -> Array:
    out = jnp.power(base, jnp.maximum(exponent, 0))
    # 1 and -1 have whole inverses; everything else rounds to 0.
    inverse = jnp.where(base == 1, 1, jnp.where(base == -1, 1 - 2 * (exponent % 2), 0))
    return jnp.where(exponent < 0, inverse.astype(base.dtype), out)


@op("method", promote="arith", layout="pointwise")
def maximum(self: Array, other: Array) -> Array:
    """The larger, NaN if either is. [...], [...] -> [...]"""
    if jnp.iscomplexobj(self):
        raise RuntimeError("maximum not implemented for complex tensors.")
    return jnp.maximum(self, other)


@op("method", promote="arith", layout="pointwise")
def minimum(self: Array, other: Array) -> Array:
    """The smaller, NaN if either is. [...], [...] -> [...]"""
    if jnp.iscomplexobj(self):
        raise RuntimeError("minimum not implemented for complex tensors.")
    return jnp.minimum(self, other)


@op("method", promote="arith", layout="pointwise")
def fmax(self: Array, other: Array) -> Array:
    """The larger, ignoring NaN. [...], [...] -> [...]"""
    refuse("fmax", self, "c", error=RuntimeError)
    if not _floating(self):
        return jnp.maximum(self, other)
    return jnp.where((self >= other) | jnp.isnan(other), self, other)


@op("method", promote="arith", layout="pointwise")
def fmin(self: Array, other: Array) -> Array:
    """The smaller, ignoring NaN. [...], [...] -> [...]"""
    refuse("fmin", self, "c", error=RuntimeError)
    if not _floating(self):
        return jnp.minimum(self, other)
    return jnp.where((self <= other) | jnp.isnan(other), self, other)


@op("method", "inplace", promote="float", layout="pointwise", aliases=("arctan2",))
def atan2(self: Array, other: Array) -> Array:
    """The angle of the point (other, self). [...], [...] -> [...]"""
    refuse("atan2", self, "c")
    return jnp.arctan2(self, other)


@jax.custom_jvp
def _hypot(x: Array, y: Array) -> Array:
    return jnp.hypot(x, y)


@_hypot.defjvp
def _hypot_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (x, y), (dx, dy) = primals, tangents
    out = _hypot(x, y)
    return out, x / out * dx + y / out * dy


@op("method", "inplace", promote="arith", layout="pointwise")
def hypot(self: Array, other: Array) -> Array:
    """The length of the vector (self, other). [...], [...] -> [...]"""
    if not _floating(self):
        raise RuntimeError(f"\"hypot\" not implemented for '{self.dtype.name.capitalize()}'")
    return _hypot(*jnp.broadcast_arrays(self, other))


@op("method", "inplace", promote="float", layout="pointwise")
def copysign(self: Array, other: Array | Scalar) -> Array:
    """The magnitude of self with the sign of other. [...], [...] -> [...]"""
    first, second = jnp.broadcast_arrays(*_arrays(self, other))
    return _copysign(first, second)


@jax.custom_jvp
def _copysign(x: Array, y: Array) -> Array:
    return jnp.copysign(x, y)


@_copysign.defjvp
def _copysign_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (x, y), (dx, dy) = primals, tangents
    same = jnp.signbit(x) == jnp.signbit(y)
    slope = jnp.where(x == 0, 0, jnp.where(same, 1, -1)).astype(x.dtype)
    return _copysign(x, y), dx * slope + jnp.zeros_like(dy)


@jax.custom_jvp
def _nextafter(x: Array, y: Array) -> Array:
    return jnp.nextafter(x, y)


@_nextafter.defjvp
def _nextafter_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (x, y), (dx, dy) = primals, tangents
    return _nextafter(x, y), jnp.where(x != y, dx, 0) + jnp.zeros_like(dy)


@op("method", "inplace", promote="arith", layout="pointwise")
def nextafter(self: Array, other: Array) -> Array:
    """The next number from self towards other. [...], [...] -> [...]"""
    refuse("nextafter", self, "b", "i", "c")
    return _nextafter(*jnp.broadcast_arrays(self, other))


@op("method", "inplace", promote="arith", layout="pointwise", differentiable=False)
def gcd(self: Array, other: Array) -> Array:
    """Greatest common divisor. [...], [...] -> [...]"""
    return jnp.gcd(self, other)


@op("method", "inplace", promote="arith", layout="pointwise", differentiable=False)
def lcm(self: Array, other: Array) -> Array:
    """Least common multiple. [...], [...] -> [...]"""
    return jnp.lcm(self, other)


@op("method", "inplace", layout="pointwise", promote="arith")
def lerp(self: Array, end: Array, weight: Array | Scalar) -> Array:
    """self + weight * (end - self). [...], [...] -> [...]"""
    low = self + weight * (end - self)
    high = end - (end - self) * (1 - weight)
    return jnp.where(jnp.abs(weight) < 0.5, low, high)


@op("method", "inplace", promote="arith", layout="pointwise", saves=("tensor1", "tensor2"))
def addcmul(self: Array, tensor1: Array, tensor2: Array, *, value: Scalar = 1) -> Array:
    """self + value * tensor1 * tensor2. [...] -> [...]"""
    return self + value * tensor1 * tensor2


@op("method", "inplace", promote="arith", layout="pointwise", saves=("tensor1", "tensor2"))
def addcdiv(self: Array, tensor1: Array, tensor2: Array, *, value: Scalar = 1) -> Array:
    """self + value * tensor1 / tensor2. [...] -> [...]"""
    if not _floating(self):
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future release "
            "addcdiv will perform a true division of tensor1 and tensor2."
        )
    return self + value * (tensor1 / tensor2)


@op(
    "method",
    "inplace",
    promote="arith",
    layout="pointwise",
    differentiable=False,
    out="exact",
    check=_same_dtype("heaviside"),
)
def heaviside(self: Array, values: Array) -> Array:
    """0 below zero and for NaN, `values` at zero, 1 above. [...], [...] -> [...]"""
    return jnp.where(self == 0, values, (self > 0).astype(self.dtype))
