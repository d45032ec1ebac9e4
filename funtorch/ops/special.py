"""torch.special: gamma and Bessel functions, normal distribution, entropies."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jss
import numpy as np
from jax import lax

from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops._promote import refuse
from funtorch.tensor import Tensor

# Gamma functions --------------------------------------------------------------------------------

_BERNOULLI = (
    # B(2k) / (2k)! for k = 1 .. 12, the coefficients of the Euler-Maclaurin formula.
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
    -3617 / 10670622842880000,
    43867 / 5109094217170944000,
    -174611 / 802857662698291200000,
    77683 / 14101100039391805440000,
    -236364091 / 1693824136731743669452800000,
)


def _zeta_series(x: Array, q: Array) -> Array:
    """Hurwitz zeta by direct summation up to q + k > 9, then Euler-Maclaurin (as Cephes does)."""

    def unfinished(state: Any) -> Array:
        k, a, _ = state
        return (k < 9) | (a <= 9).any()

    def add(state: Any) -> Any:
        k, a, total = state
        more = (k < 9) | (a <= 9)
        a = jnp.where(more, a + 1, a)
        return k + 1, a, jnp.where(more, total + a**-x, total)

    _, a, total = lax.while_loop(unfinished, add, (0, q, q**-x))
    tail = a**-x
    # A term too small to matter ends the sum; beyond it there would be infinity times zero.
    done, summed = tail < jnp.finfo(x.dtype).eps * total, total
    done = done | ((tail == 0) & (x < 1e12))
    total = total + tail * a / (x - 1) - 0.5 * tail
    factor = jnp.ones_like(x)
    for k, coefficient in enumerate(_BERNOULLI):
        factor = factor * (x + 2 * k)
        tail = tail / a
        total = total + coefficient * factor * tail
        factor = factor * (x + 2 * k + 1)
        tail = tail / a
    return jnp.where(done, summed, total)


def _zeta_value(x: Array, q: Array) -> Array:
    x, q = jnp.broadcast_arrays(x, q)
    fits = (x > 1) & jnp.isfinite(q) & ((q > 0) | ((q != jnp.floor(q)) & (x == jnp.floor(x))))
    # Far below zero the sum would never end; nobody asks there.
    safe = jnp.where(fits, jnp.maximum(q, -1e4), 1)
    found = _zeta_series(jnp.where(fits, x, 2), safe)
    pole = (x == 1) | ((q <= 0) & (q == jnp.floor(q)) & ~(x < 1))
    return jnp.where(fits, found, jnp.where(pole, jnp.inf, jnp.nan)).astype(x.dtype)


@jax.custom_jvp
def _zeta(x: Array, q: Array) -> Array:
    return _zeta_value(x, q)


def _zeta_jvp(primals: Any, tangents: Any) -> Any:
    (x, q), (dx, dq) = primals, tangents
    if not isinstance(dx, jax.custom_derivatives.SymbolicZero):
        raise NotImplementedError("the derivative for 'zeta: self' is not implemented.")
    out = _zeta(x, q)
    if isinstance(dq, jax.custom_derivatives.SymbolicZero):
        return out, jnp.zeros_like(out)
    return out, -x * _zeta(x + 1, q) * dq


_zeta.defjvp(_zeta_jvp, symbolic_zeros=True)


@op("special", function=False, promote="float", layout="pointwise")
def zeta(self: Array | Scalar, other: Array | Scalar) -> Array:
    """Hurwitz zeta function. [...], [...] -> [...]"""
    dtype = self.dtype if hasattr(self, "dtype") else other.dtype  # type: ignore[union-attr]
    refuse("zeta", np.zeros((), dtype), "half", "c")
    return _zeta(jnp.asarray(self, dtype), jnp.asarray(other, dtype))


@jax.custom_jvp
def trigamma(x: Array) -> Array:
    """The second derivative of log gamma, by reflection below 1/2."""
    low = x < 0.5
    above = _zeta(jnp.full_like(x, 2), jnp.where(low, 1 - x, x))
    sine = jnp.sin(np.pi * x)
    found = jnp.where(low, (np.pi / sine) ** 2 - above, above)
    return jnp.where(x == jnp.inf, jnp.nan, found)


@trigamma.defjvp
def _trigamma_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    return trigamma(*primals), -2 * _zeta(jnp.full_like(primals[0], 3), primals[0]) * tangents[0]


@jax.custom_jvp
def _digamma(x: Array) -> Array:
    whole = (x <= 0) & (x == jnp.floor(x))
    found = jss.digamma(jnp.where(whole, 1, x))
    at_zero = jnp.copysign(jnp.full_like(x, jnp.inf), -x)
    return jnp.where(whole, jnp.where(x == 0, at_zero, jnp.nan), found)


@_digamma.defjvp
def _digamma_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    return _digamma(*primals), trigamma(*primals) * tangents[0]


_DIGAMMA_SERIES = (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)
"""B(2k) / 2k, the highest power of 1 / x^2 first."""
_DIGAMMA_10 = 2.25175258906672110764


def _digamma_steps(self: Array) -> Array:
    """Reflection, recurrence up to 10 and the asymptotic series, as PyTorch computes it."""
    below = self < 0
    turned = (math.pi / jnp.tan(math.pi * jnp.fmod(self, 1).astype(jnp.float64))).astype(self.dtype)
    x = jnp.where(below, 1 - self, self)
    total = jnp.zeros_like(x)
    for _ in range(10):
        small = x < 10
        total = jnp.where(small, total - 1 / x, total)
        x = jnp.where(small, x + 1, x)
    z = 1 / (x * x)
    series = jnp.zeros_like(x)
    for c in _DIGAMMA_SERIES:
        series = series * z + c
    tail = jnp.where(x < 1e17, z * series, 0)
    found = jnp.where(x == 10, total + _DIGAMMA_10, total + jnp.log(x) - 0.5 / x - tail)
    found = jnp.where(below, found - turned, found)
    found = jnp.where(below & (self == jnp.trunc(self)), jnp.nan, found)
    return jnp.where(self == 0, jnp.copysign(jnp.full_like(x, jnp.inf), -self), found)


@op(
    "method",
    "inplace",
    promote="float",
    layout="pointwise",
    aliases=("special.digamma", "special.psi"),
    single=_digamma_steps,
)
def digamma(self: Array) -> Array:
    """Logarithmic derivative of gamma. self: [...] -> [...]"""
    return _digamma(self)


@jax.custom_jvp
def _lgamma(x: Array) -> Array:
    return jss.gammaln(x)


@_lgamma.defjvp
def _lgamma_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    return _lgamma(*primals), _digamma(*primals) * tangents[0]


@op(
    "method",
    "inplace",
    promote="float",
    layout="pointwise",
    aliases=("special.gammaln",),
    out="rounded",
)
def lgamma(self: Array) -> Array:
    """Logarithm of the gamma function. self: [...] -> [...]"""
    return _lgamma(self)


@op(promote="float", layout="pointwise", function=False, grad_name="PolygammaBackward0")
def _polygamma(self: Array, n: int) -> Array:
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if self.dtype in (jnp.float16, jnp.bfloat16):
        return _polygamma.lower(self.astype(jnp.float32), n).astype(self.dtype)
    if n == 0:
        return _digamma(self)
    if n == 1:
        return trigamma(self)
    sign = 1.0 if n % 2 else -1.0
    found = sign * math.factorial(n) * _zeta(jnp.full_like(self, n + 1), self)
    return jnp.where(self == jnp.inf, jnp.nan, found)


@composite(aliases=("special.polygamma",), out="cast")
def polygamma(n: int, self: Tensor) -> Tensor:
    """The n-th derivative of digamma. self: [...] -> [...]"""
    return _polygamma(self, n)


@composite(function=False, aliases=("Tensor.polygamma",))
def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of digamma. self: [...] -> [...]"""
    return _polygamma(self, n)


@composite("method", function=False)
def polygamma_(self: Tensor, n: int) -> Tensor:
    """`polygamma` in place."""
    return self.copy_(_polygamma(self, n))


@composite("inplace", "method", aliases=("special.multigammaln",), out="rounded")
def mvlgamma(self: Tensor, p: int) -> Tensor:
    """Logarithm of the multivariate gamma function of dimension p. self: [...] -> [...]"""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    steps = [(1 - j) / 2 for j in range(1, p + 1)]
    total = lgamma(self + steps[0])
    for step in steps[1:]:
        total = total + lgamma(self + step)
    return (total + p * (p - 1) / 4 * math.log(math.pi)).contiguous()


def _incomplete(name: str, lower: Any, total: int, alias: str, meaning: str) -> None:
    """total: the value at x = inf, where everything has been summed."""

    def body(self: Array, other: Array) -> Array:
        refuse(name, self, "b", "i")
        a, x = jnp.broadcast_arrays(self, other)
        fits = (a > 0) & (x > 0) & jnp.isfinite(a) & jnp.isfinite(x)
        found = lower(jnp.where(fits, a, 1), jnp.where(fits, x, 1))
        # PyTorch's corners in its order, which decides what becomes of NaN.
        corners = (
            ((a < 0) | (x < 0), jnp.nan),
            (a == 0, jnp.where(x > 0, total, jnp.nan)),
            (x == 0, 1 - total),
            (jnp.isinf(a), jnp.where(jnp.isinf(x), jnp.nan, 1 - total)),
            (jnp.isinf(x), total),
            (~fits, jnp.nan),
        )
        for holds, value in reversed(corners):
            found = jnp.where(holds, value, found)
        return found.astype(self.dtype)

    body.__name__ = name
    body.__doc__ = f"{meaning} self, other: [...] -> [...]"
    op(
        "method",
        "inplace",
        promote="arith",
        layout="pointwise",
        aliases=(alias,),
    )(body)


_incomplete("igamma", jss.gammainc, 1, "special.gammainc", "Regularised lower incomplete gamma.")
_incomplete("igammac", jss.gammaincc, 0, "special.gammaincc", "Regularised upper incomplete gamma.")


# Bessel functions -------------------------------------------------------------------------------


@jax.custom_jvp
def _i0(x: Array) -> Array:
    return jss.i0(x)


@jax.custom_jvp
def _i1(x: Array) -> Array:
    return jss.i1(x)


@jax.custom_jvp
def _i0e(x: Array) -> Array:
    return jss.i0e(x)


@jax.custom_jvp
def _i1e(x: Array) -> Array:
    return jss.i1e(x)


def _over(value: Array, x: Array) -> Array:
    """value / x for odd Bessel functions, whose slope at zero is 1/2."""
    near = jnp.abs(x) < jnp.finfo(x.dtype).eps
    return jnp.where(near, 0.5, value / jnp.where(near, 1, x))


_i0.defjvps(lambda dx, out, x: _i1(x) * dx)
_i1.defjvps(lambda dx, out, x: (_i0(x) - _over(out, x)) * dx)
_i0e.defjvps(lambda dx, out, x: (_i1e(x) - jnp.sign(x) * out) * dx)
_i1e.defjvps(lambda dx, out, x: (_i0e(x) - jnp.sign(x) * out - _over(out, x)) * dx)


def _simple(
    name: str, lower: Any, meaning: str, *forms: str, aliases: tuple[str, ...] = (), **how: Any
) -> Any:
    """An elementwise function of one argument in torch.special (and wherever `forms` say)."""

    def body(self: Array) -> Array:
        return lower(self)

    body.__name__ = name
    body.__doc__ = f"{meaning} self: [...] -> [...]"
    given = {"promote": "float", "layout": "pointwise", "function": "function" in forms, **how}
    return op("special", *(f for f in forms if f != "function"), aliases=aliases, **given)(body)


_simple("i0", _i0, "Modified Bessel function, order 0.", "function", "method", "inplace")
_simple("i0e", _i0e, "exp(-|x|) i0(x).")
_simple("i1", _i1, "Modified Bessel function, order 1.")
_simple("i1e", _i1e, "exp(-|x|) i1(x).")


def _sinc(x: Array) -> Array:
    small = x == 0
    return jnp.where(small, 1, jnp.where(jnp.isinf(x), 0, jnp.sin(x)) / jnp.where(small, 1, x))


_simple("spherical_bessel_j0", _sinc, "sin(x) / x.", differentiable=False)


# Normal distribution, entropies --------------------------------------------------------------------


@jax.custom_jvp
def _erfcx(x: Array) -> Array:
    """exp(x^2) erfc(x). Above 2 by a continued fraction, which cannot overflow."""
    large = x > 2
    near = jnp.where(large, 0, x)
    far = jnp.where(large, x, 3)
    fraction = jnp.zeros_like(x)
    for k in range(60, 0, -1):
        fraction = (k / 2) / (far + fraction)
    direct = jnp.exp(near * near) * lax.erfc(near)
    return jnp.where(large, 1 / (math.sqrt(math.pi) * (far + fraction)), direct)


_erfcx.defjvps(lambda dx, out, x: (2 * x * out - 2 / math.sqrt(math.pi)) * dx)
_simple("erfcx", _erfcx, "exp(x * x) erfc(x).")


def _ndtr(x: Array) -> Array:
    wide = x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x
    return jss.ndtr(wide).astype(x.dtype)


_simple("ndtr", _ndtr, "The normal distribution function.")
_simple("ndtri", jss.ndtri, "Inverse of ndtr.")


@jax.custom_jvp
def _log_ndtr(x: Array) -> Array:
    """By erfc on either side of -1, so that no digits cancel."""
    t = x * math.sqrt(0.5)
    low = x < -1
    below = jnp.log(_erfcx(jnp.where(low, -t, 1)) / 2) - jnp.where(low, t * t, 0)
    return jnp.where(low, below, jnp.log1p(-lax.erfc(jnp.where(low, 0, t)) / 2))


_log_ndtr.defjvps(lambda dx, out, x: math.sqrt(2 / math.pi) / _erfcx(-x * math.sqrt(0.5)) * dx)
_simple("log_ndtr", _log_ndtr, "Logarithm of ndtr.")


@jax.custom_jvp
def _entr(x: Array) -> Array:
    found = -x * jnp.log(jnp.where(x > 0, x, 1))
    return jnp.where(jnp.isnan(x) | (x > 0), found, jnp.where(x == 0, 0, -jnp.inf))


_entr.defjvps(lambda dx, out, x: (-jnp.log(x) - 1) * dx)
_simple("entr", _entr, "-x log(x).")


def _pair(name: str, lower: Any, meaning: str, *forms: str, aliases: tuple[str, ...] = ()) -> Any:
    def body(self: Array | Scalar, other: Array | Scalar) -> Array:
        dtype = self.dtype if hasattr(self, "dtype") else other.dtype  # type: ignore[union-attr]
        refuse(name, np.zeros((), dtype), "c")
        return lower(*jnp.broadcast_arrays(jnp.asarray(self, dtype), jnp.asarray(other, dtype)))

    body.__name__ = name
    body.__doc__ = f"{meaning} self, other: [...] -> [...]"
    how = {"promote": "float", "layout": "pointwise", "function": "function" in forms}
    return op(*(f for f in forms if f != "function"), aliases=aliases, **how)(body)


def _times_log(log: Any) -> Any:
    def lower(x: Array, y: Array) -> Array:
        zero = (x == 0) & ~jnp.isnan(y)
        return jnp.where(zero, 0, x * log(jnp.where(zero, 1, y)))

    return lower


_pair(
    "xlogy",
    _times_log(jnp.log),
    "x log(y), 0 where x is.",
    "function",
    "method",
    "inplace",
    aliases=("special.xlogy",),
)
_pair("xlog1py", _times_log(jnp.log1p), "x log(1 + y), 0 where x is.", "special")


# Orthogonal polynomials -----------------------------------------------------------------------------


def _polynomial(
    name: str, first: Any, step: Any, shifted: bool = False, one_at: float | None = None
) -> None:
    """step(k, x, p_k, p_(k-1)) -> p_(k+1): the three-term recurrence, from p_0 = 1.

    one_at: where all degrees are 1 (and at its negative 1 or -1), which rounding would spoil.
    """

    def lower(x: Array, n: Array) -> Array:
        x = 2 * x - 1 if shifted else x
        # What does not fit a 64-bit integer counts as negative, as in C.
        degree = jnp.where(jnp.abs(n) < 2.0**63, jnp.trunc(n), -1)

        def grow(state: Any) -> Any:
            k, current, before = state
            grown = jnp.where(k < degree, step(k, x, current, before), current)
            return k + 1, grown, jnp.where(k < degree, current, before)

        one = jnp.ones_like(x)
        start = (jnp.ones((), x.dtype), jnp.where(degree >= 1, first(x), one), one)
        top = degree.max(initial=0)
        found = lax.while_loop(lambda state: state[0] < top, grow, start)[1]
        if one_at is not None:
            sign = jnp.where((x < 0) & (degree % 2 == 1), -1, 1)
            found = jnp.where(jnp.abs(x) == one_at, sign, found)
        return jnp.where(degree < 0, 0, found)

    def body(self: Array | Scalar, n: Array | Scalar) -> Array:
        dtype = self.dtype if hasattr(self, "dtype") else n.dtype  # type: ignore[union-attr]
        refuse(name, np.zeros((), dtype), "half", "c")
        return lower(*jnp.broadcast_arrays(jnp.asarray(self, dtype), jnp.asarray(n, dtype)))

    body.__name__ = name
    body.__doc__ = "The polynomial of degree n at x. self, n: [...] -> [...]"
    op("special", function=False, promote="float", layout="pointwise", differentiable=False)(body)


def _chebyshev(k: Any, x: Array, p: Array, before: Array) -> Array:
    return 2 * x * p - before


for _kind, _first in (
    ("t", lambda x: x),
    ("u", lambda x: 2 * x),
    ("v", lambda x: 2 * x - 1),
    ("w", lambda x: 2 * x + 1),
):
    _polynomial(f"chebyshev_polynomial_{_kind}", _first, _chebyshev)
    _polynomial(f"shifted_chebyshev_polynomial_{_kind}", _first, _chebyshev, shifted=True)

_polynomial("hermite_polynomial_h", lambda x: 2 * x, lambda k, x, p, q: 2 * (x * p - k * q))
_polynomial("hermite_polynomial_he", lambda x: x, lambda k, x, p, q: x * p - k * q)
_polynomial(
    "laguerre_polynomial_l",
    lambda x: 1 - x,
    lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1),
    one_at=0,
)
_polynomial(
    "legendre_polynomial_p",
    lambda x: x,
    lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1),
    one_at=1,
)
