"""Elementwise ops of one operand. Most are one line: a name, a JAX function, what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.tensor import Tensor, dtype_of


def _floating(x: Array) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _unary(
    name: str,
    lower: Callable[[Any], Any],
    meaning: str,
    *,
    promote: str | None = "float",
    saves: tuple[str, ...] = ("self",),
    aliases: tuple[str, ...] = (),
    differentiable: bool = True,
    real: bool = False,
    out: str | None = None,
) -> Any:
    """Declare an elementwise function with method and in-place forms. [...] -> [...]

    real: complex operands are refused, as PyTorch refuses them.
    """

    def body(self: Array) -> Array:
        if real and jnp.iscomplexobj(self):
            raise RuntimeError(f"\"{name}\" not implemented for '{_word(self.dtype)}'")
        return lower(self)

    body.__name__ = name
    body.__doc__ = f"{meaning} self: [...] -> [...]"
    return op(
        "method",
        "inplace",
        promote=promote,
        saves=saves,
        aliases=aliases,
        differentiable=differentiable,
        layout="pointwise",
        out=out,
    )(body)


_WORDS = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "uint8": "Byte",
    "int8": "Char",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "bool": "Bool",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}


def _word(dtype: Any) -> str:
    return _WORDS.get(np.dtype(dtype).name, str(dtype))


RESULT = ("result",)

# Exponentials, logarithms, roots ---------------------------------------------------------------

_unary("exp", jnp.exp, "e to the power of each element.", saves=RESULT)


def _exp2(x: Array) -> Array:
    """By a power: XLA's exp2 is exp(x log 2), which is inexact for whole numbers too."""
    return jnp.power(jnp.asarray(2, x.dtype), x)


_unary("exp2", _exp2, "2 to the power of each element.", saves=RESULT, aliases=("special.exp2",))
_unary(
    "expm1",
    jnp.expm1,
    "exp(x) - 1, exact near zero.",
    saves=RESULT,
    aliases=("special.expm1",),
    out="rounded",
)
_unary("log", jnp.log, "Natural logarithm.")
_unary("log2", jnp.log2, "Logarithm to base 2.")
_unary("log10", jnp.log10, "Logarithm to base 10.")
_unary("log1p", jnp.log1p, "log(1 + x), exact near zero.", aliases=("special.log1p",))
_unary("sqrt", jnp.sqrt, "Square root.", saves=RESULT)
_unary("rsqrt", lambda x: lax.rsqrt(x), "1 / sqrt(x).", saves=RESULT)
_unary("reciprocal", lambda x: 1 / x, "1 / x.", saves=RESULT)

# Trigonometry ------------------------------------------------------------------------------------

_unary("sin", jnp.sin, "Sine.")
_unary("cos", jnp.cos, "Cosine.")
_unary("tan", jnp.tan, "Tangent.", saves=RESULT)
_unary("asin", jnp.arcsin, "Inverse sine.", aliases=("arcsin",))
_unary("acos", jnp.arccos, "Inverse cosine.", aliases=("arccos",))
_unary("atan", jnp.arctan, "Inverse tangent.", aliases=("arctan",))
_unary("sinh", jnp.sinh, "Hyperbolic sine.", out="rounded")
_unary("cosh", jnp.cosh, "Hyperbolic cosine.")
_unary("asinh", jnp.arcsinh, "Inverse hyperbolic sine.", aliases=("arcsinh",))
_unary("acosh", jnp.arccosh, "Inverse hyperbolic cosine.", aliases=("arccosh",))
_unary("atanh", jnp.arctanh, "Inverse hyperbolic tangent.", aliases=("arctanh",))
_unary("deg2rad", lambda x: x * (np.pi / 180), "Degrees to radians.", saves=())
_unary("rad2deg", lambda x: x * (180 / np.pi), "Radians to degrees.", saves=())


def _sinc(x: Array) -> Array:
    wide = x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x
    return jnp.sinc(wide).astype(x.dtype)


_unary("sinc", _sinc, "sin(pi x) / (pi x).", aliases=("special.sinc",))

# Rounding ------------------------------------------------------------------------------------------


def _steps(lower: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of steps: its gradient is zero."""
    stepped = jax.custom_jvp(lower)

    @stepped.defjvp
    def _(primals, tangents):  # type: ignore[no-untyped-def]
        out = stepped(*primals)
        return out, jnp.zeros_like(out)

    return stepped


def _whole(lower: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Rounding; integers are rounded already."""
    return _steps(lambda x: lower(x) if _floating(x) else x)


_unary("floor", _whole(jnp.floor), "Rounded down.", promote=None, saves=(), real=True)
_unary("ceil", _whole(jnp.ceil), "Rounded up.", promote=None, saves=(), real=True)
_unary(
    "trunc",
    _whole(jnp.trunc),
    "Rounded towards zero.",
    promote=None,
    saves=(),
    aliases=("fix",),
    real=True,
)
_unary(
    "frac",
    lambda x: x - lax.stop_gradient(jnp.trunc(x)),
    "What is behind the point.",
    promote=None,
    saves=(),
    real=True,
)


@op("method", "inplace", layout="pointwise", saves=(), aliases=("special.round",))
def round(self: Array, *, decimals: int = 0) -> Array:
    """Rounded to whole numbers (halves to even), or to some decimals. [...] -> [...]"""
    if not _floating(self):
        return self
    if jnp.iscomplexobj(self):
        raise RuntimeError("\"round_cpu\" not implemented for 'ComplexFloat'")
    scale = 10.0 ** abs(decimals)
    if decimals == 0:
        return _whole(jnp.round)(self)
    if decimals > 0:
        return _whole(lambda x: jnp.round(x * scale) / scale)(self)
    return _whole(lambda x: jnp.round(x / scale) * scale)(self)


# Signs and parts -----------------------------------------------------------------------------------


@jax.custom_jvp
def _abs(x: Array) -> Array:
    return jnp.abs(x)


@_abs.defjvp
def _abs_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (x,), (dx,) = primals, tangents
    if jnp.iscomplexobj(x):
        return _abs(x), jnp.real(jnp.conj(_sgn(x)) * dx)
    return _abs(x), jnp.sign(x) * dx


def _sgn(x: Array) -> Array:
    if not jnp.iscomplexobj(x):
        return jnp.sign(x)
    size = jnp.abs(x)
    return jnp.where(size == 0, jnp.zeros_like(x), x / jnp.where(size == 0, 1, size))


def _abs_checked(x: Array) -> Array:
    return _abs(x) if x.dtype != jnp.bool_ else x


_unary("abs", _abs_checked, "Magnitude.", promote=None, aliases=("absolute",))


@op("method", "inplace", layout="pointwise", saves=(), aliases=("negative",))
def neg(self: Array) -> Array:
    """The opposite. self: [...] -> [...]"""
    if self.dtype == jnp.bool_:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return -self


@composite("method")
def positive(self: Any) -> Any:
    """The tensor itself; bool tensors are refused."""
    if self.dtype.name == "bool":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return self


def _sign(x: Array) -> Array:
    if x.dtype == jnp.bool_:
        return x
    return jnp.where(jnp.isnan(x), jnp.zeros_like(x), jnp.sign(x))


_unary("sign", _steps(_sign), "-1, 0 or 1.", promote=None, saves=(), real=True)
_unary(
    "sgn",
    lambda x: _sgn(x) if jnp.iscomplexobj(x) else _steps(_sign)(x),
    "The sign; for complex numbers x / |x|.",
    promote=None,
)


def _square(x: Array) -> Array:
    x = x.astype(jnp.int64) if x.dtype == jnp.bool_ else x
    return x * x


_unary("square", _square, "x * x.", promote=None, out="cast")
_unary("erf", lax.erf, "Gauss error function.", aliases=("special.erf",))
_unary("erfc", lax.erfc, "1 - erf(x).", aliases=("special.erfc",))
_unary("erfinv", lax.erf_inv, "Inverse of erf.", aliases=("special.erfinv",), out="rounded")


@op("method", layout="pointwise", differentiable=False)
def signbit(self: Array) -> Array:
    """Is the sign bit set? self: [...] -> [...] bool"""
    if jnp.iscomplexobj(self):
        raise RuntimeError("signbit is not implemented for complex tensors.")
    return jnp.signbit(self) if _floating(self) else self < 0


@jax.custom_jvp
def _angle(x: Array) -> Array:
    return jnp.where(jnp.isnan(x), x, jnp.where(x < 0, np.pi, 0).astype(x.dtype))


@_angle.defjvp
def _angle_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    out = _angle(*primals)
    return out, jnp.zeros_like(out)


@op("method", promote="float", layout="pointwise")
def angle(self: Array) -> Array:
    """The argument of complex numbers; 0 or pi for real ones. [...] -> [...]"""
    return jnp.angle(self) if jnp.iscomplexobj(self) else _angle(self)


@op(function=False, layout="pointwise", saves=(), grad_name="ConjPhysicalBackward0")
def _conj_physical(self: Array) -> Array:
    return jnp.conj(self)


@composite("method", "inplace")
def conj_physical(self: Tensor) -> Tensor:
    """Complex conjugate as a copy; real tensors are returned as they are. [...] -> [...]"""
    return _conj_physical(self) if dtype_of(self).is_complex else self


@op("method", "inplace", promote="float", layout="pointwise", aliases=("special.logit",))
def logit(self: Array, eps: Scalar | None = None) -> Array:
    """log(x / (1 - x)), x clamped to [eps, 1 - eps] if eps is given. [...] -> [...]"""
    x = self if eps is None else jnp.clip(self, eps, 1 - eps)
    return jnp.log(x / (1 - x))


@op("method", "inplace", layout="pointwise")
def nan_to_num(
    self: Array,
    nan: Scalar | None = None,
    posinf: Scalar | None = None,
    neginf: Scalar | None = None,
) -> Array:
    """NaN and infinities replaced by finite numbers. [...] -> [...]"""
    if not _floating(self):
        return self
    return jnp.nan_to_num(self, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


# Limits --------------------------------------------------------------------------------------------


@op("method", "inplace", promote="arith", layout="pointwise", aliases=("clip",))
def clamp(
    self: Array, min: Array | Scalar | None = None, max: Array | Scalar | None = None
) -> Array:
    """Elements brought into [min, max]. self: [...] -> [...]"""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if jnp.iscomplexobj(self):
        raise NotImplementedError("clamp is not supported for complex types")
    bounds = [b for b in (min, max) if b is not None]
    if self.dtype == jnp.bool_ and not (len(bounds) == 1 and isinstance(bounds[0], jax.Array)):
        raise NotImplementedError("\"clamp_scalar_cpu\" not implemented for 'Bool'")
    out = self
    if min is not None:
        out = _limited(out, min, jnp.maximum, lambda x, bound: x >= bound)
    if max is not None:
        out = _limited(out, max, jnp.minimum, lambda x, bound: x <= bound)
    return out


def _limited(x: Array, bound: Array | Scalar, pick: Any, inside: Any) -> Array:
    bound = jnp.asarray(bound).astype(x.dtype)
    # Written with where, so that at the bound the whole gradient goes to the tensor.
    return jnp.where(inside(x, bound) | jnp.isnan(x), x, pick(lax.stop_gradient(x), bound))


@composite("method", "inplace", out="cast")
def clamp_min(self: Any, min: Any) -> Any:
    """`clamp(min=min)`."""
    return clamp(self, min=min)


@composite("method", "inplace", out="cast")
def clamp_max(self: Any, max: Any) -> Any:
    """`clamp(max=max)`."""
    return clamp(self, max=max)


# Questions -----------------------------------------------------------------------------------------


def _question(name: str, lower: Callable[[Any], Any], meaning: str) -> Any:
    def body(self: Array) -> Array:
        return lower(self)

    body.__name__ = name
    body.__doc__ = f"{meaning} self: [...] -> [...] bool"
    return op("method", differentiable=False, layout="pointwise")(body)


def _if_floating(lower: Callable[[Any], Any], otherwise: bool) -> Callable[[Any], Any]:
    return lambda x: lower(x) if _floating(x) else jnp.full(x.shape, otherwise)


_question("isnan", _if_floating(jnp.isnan, False), "Not a number?")
_question("isinf", _if_floating(jnp.isinf, False), "Infinite?")
_question("isfinite", _if_floating(jnp.isfinite, True), "Neither infinite nor NaN?")
_question("isposinf", _if_floating(jnp.isposinf, False), "Plus infinity?")
_question("isneginf", _if_floating(jnp.isneginf, False), "Minus infinity?")
_question("isreal", jnp.isreal, "Without an imaginary part?")


# Bits and logic ------------------------------------------------------------------------------------


def _whole_only(name: str, *operands: Any) -> None:
    for x in operands:
        if hasattr(x, "dtype") and _floating(x):
            raise RuntimeError(f"\"{name}_cpu\" not implemented for '{_word(x.dtype)}'")


def _no_bools(name: str, lower: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def checked(self: Any, other: Any) -> Any:
        if (self if hasattr(self, "dtype") else other).dtype == jnp.bool_:
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")
        return lower(self, other)

    return checked


def _bitwise(name: str, lower: Callable[[Any, Any], Any], meaning: str) -> Any:
    def body(self: Array | Scalar, other: Array | Scalar) -> Array:
        _whole_only(name, self, other)
        return lower(self, other)

    body.__name__ = name
    body.__doc__ = f"{meaning} self, other: [...] -> [...]"
    return op("method", "inplace", promote="arith", differentiable=False, layout="pointwise")(body)


_bitwise("bitwise_and", jnp.bitwise_and, "Bits set in both.")
_bitwise("bitwise_or", jnp.bitwise_or, "Bits set in either.")
_bitwise("bitwise_xor", jnp.bitwise_xor, "Bits set in one of them.")
_bitwise("bitwise_left_shift", _no_bools("lshift", jnp.left_shift), "Bits moved to the left.")
_bitwise("bitwise_right_shift", _no_bools("rshift", jnp.right_shift), "Bits moved to the right.")


@op("method", "inplace", differentiable=False, layout="pointwise")
def bitwise_not(self: Array) -> Array:
    """All bits turned. self: [...] -> [...]"""
    _whole_only("bitwise_not", self)
    return ~self


def _logical(name: str, lower: Callable[[Any, Any], Any], meaning: str) -> Any:
    def body(self: Array, other: Array) -> Array:
        return lower(self, other)

    body.__name__ = name
    body.__doc__ = f"{meaning} self, other: [...] -> [...] bool"
    return op("method", "inplace", differentiable=False, layout="pointwise", out="cast")(body)


_logical("logical_and", jnp.logical_and, "Both non-zero?")
_logical("logical_or", jnp.logical_or, "One non-zero?")
_logical("logical_xor", jnp.logical_xor, "Exactly one non-zero?")


@op("method", "inplace", differentiable=False, layout="pointwise", out="cast")
def logical_not(self: Array) -> Array:
    """Zero? self: [...] -> [...] bool"""
    return jnp.logical_not(self)


@op(layout="pointwise", out="exact")
def polar(abs: Array, angle: Array) -> Array:
    """Complex numbers from magnitude and angle. [...], [...] -> [...]"""
    if abs.dtype != angle.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {_word(abs.dtype)} but got scalar type "
            f"{_word(angle.dtype)} for second argument"
        )
    if abs.dtype not in (jnp.float32, jnp.float64):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {_word(abs.dtype)}"
        )
    return lax.complex(abs * jnp.cos(angle), abs * jnp.sin(angle))


@op(saves=(), layout="pointwise")
def complex(real: Array, imag: Array) -> Array:
    """Complex numbers from their parts. [...], [...] -> [...]"""
    if real.dtype != imag.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {real.dtype} but got scalar type {imag.dtype} for "
            "second argument"
        )
    if real.dtype not in (jnp.float32, jnp.float64):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {real.dtype}"
        )
    return lax.complex(*jnp.broadcast_arrays(real, imag))
