"""Powers, exponents and logarithms of sums."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from funtorch import dtypes
from funtorch.ops._declare import TABLE, Array, composite, op
from funtorch.ops._promote import refuse
from funtorch.ops.memory import convert
from funtorch.tensor import Tensor, dtype_of


def _log_of_sum(name: str, lower: Any, power: Any, meaning: str) -> None:
    """power: the function of which `lower` is the logarithm of the sum."""
    log_of_sum = jax.custom_jvp(lower)

    def jvp(primals: Any, tangents: Any) -> Any:
        (x, y), (dx, dy) = primals, tangents
        # PyTorch's formula: NaN where both operands are infinite and equal.
        return log_of_sum(x, y), dx / (1 + power(y - x)) + dy / (1 + power(x - y))

    log_of_sum.defjvp(jvp)

    def body(self: Array, other: Array) -> Array:
        refuse(name, self, "b", "i")
        return log_of_sum(*jnp.broadcast_arrays(self, other))

    body.__name__ = name
    body.__doc__ = f"{meaning} self, other: [...] -> [...]"
    op(
        "method",
        promote="arith",
        layout="pointwise",
    )(body)


_log_of_sum("logaddexp", jnp.logaddexp, jnp.exp, "log(exp(self) + exp(other)) without overflow.")
_log_of_sum(
    "logaddexp2", jnp.logaddexp2, jnp.exp2, "log2(2 ** self + 2 ** other) without overflow."
)


@composite("method", "inplace", out="cast")
def ldexp(self: Tensor, other: Tensor) -> Tensor:
    """self * 2 ** other. self, other: [...] -> [...]"""
    for name, value in (("input", self), ("other", other)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"ldexp(): argument '{name}' must be Tensor, not {type(value).__name__}"
            )
    kind = dtypes.promote_types(dtype_of(self), dtype_of(other))
    power = TABLE["pow"].facade(2.0, other).contiguous()  # whatever the strides, as in PyTorch
    return self * (power if kind.category < 2 else power.to(kind))


@jax.custom_jvp
def _mantissa(x: Array) -> Array:
    return jnp.where(jnp.isfinite(x), jnp.frexp(x)[0], x)


@_mantissa.defjvp
def _mantissa_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    x, dx = primals[0], tangents[0]
    return _mantissa(x), dx * jnp.exp2(-jnp.frexp(x)[1].astype(x.dtype))


@op("method", layout="pointwise", returns="mantissa exponent")
def frexp(self: Array) -> tuple[Array, Array]:
    """(mantissa, exponent) with self = mantissa * 2 ** exponent. [...] -> [...], [...] int32"""
    if not jnp.issubdtype(self.dtype, jnp.floating):
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return _mantissa(self), jnp.frexp(self)[1].astype(jnp.int32)


def _kind_of(x: Any) -> dtypes.dtype:
    return dtype_of(x) if isinstance(x, Tensor) else dtypes.of_scalar(x)


def _float_power(self: Any, exponent: Any) -> Tensor:
    if not isinstance(self, Tensor) and not isinstance(exponent, Tensor):
        raise TypeError("float_power(): expected at least one Tensor among the arguments")
    wide = _kind_of(self).is_complex or _kind_of(exponent).is_complex
    kind = dtypes.complex128 if wide else dtypes.float64
    device = next(x.device for x in (self, exponent) if isinstance(x, Tensor))
    if isinstance(self, Tensor):
        self = convert(self, kind, None)
    else:
        self = TABLE["full"].facade((), self, dtype=kind, device=device)
    if isinstance(exponent, Tensor):
        exponent = convert(exponent, kind, None)
    return self**exponent


@composite("method", out="exact")
def float_power(self: Any, exponent: Any) -> Tensor:
    """self ** exponent in double precision. self, exponent: [...] -> [...] float64"""
    return _float_power(self, exponent)


@composite("method", function=False)
def float_power_(self: Tensor, exponent: Any) -> Tensor:
    """`float_power` in place; the tensor must be of double precision."""
    result = _float_power(self, exponent)
    if dtype_of(result) is not dtype_of(self):
        raise RuntimeError(
            f"the base given to float_power_ has dtype {dtype_of(self).name} but the operation's "
            f"result requires dtype {dtype_of(result).name}"
        )
    return self.copy_(result)
