"""Activation functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops._orders import like_input
from funtorch.ops.creation import empty_like, zeros_like
from funtorch.views import check_writable, overwrite

Dtype = Any


def _with_inplace(facade: Any, *names: str) -> Any:
    """The nn.functional form of an op, which takes `inplace=`."""

    def functional(input: Any, *args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        if args and isinstance(args[-1], bool) and len(args) > len(names):
            *args, inplace = args  # type: ignore[assignment]
        if inplace:
            check_writable(input)
            return overwrite(input, facade(input, *args, **kwargs))
        return facade(input, *args, **kwargs)

    functional.__name__ = facade.__name__
    functional.__doc__ = facade.__doc__
    return functional


def _declare_functional(name: str, facade: Any, *names: str) -> None:
    """Bind nn.functional.<name> with `inplace=`, and for some nn.functional.<name>_."""
    functional = _with_inplace(facade, *names)
    composite(
        "functional", name=f"_functional_{name}", function=False, aliases=(f"functional.{name}",)
    )(functional)
    if name in ("relu6", "silu", "mish", "hardsigmoid", "hardswish"):
        return  # PyTorch has no such function

    def changed(input: Any, *args: Any, **kwargs: Any) -> Any:
        return functional(input, *args, inplace=True, **kwargs)

    changed.__doc__ = f"`{name}` in place."
    composite(
        "functional", name=f"_functional_{name}_", function=False, aliases=(f"functional.{name}_",)
    )(changed)


@jax.custom_jvp
def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


@_relu.defjvp
def _relu_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    out = _relu(*primals)
    return out, jnp.where(out > 0, tangents[0], jnp.zeros_like(out))


@op("method", "inplace", layout="pointwise", saves=("result",))
def relu(self: Array) -> Array:
    """max(x, 0); its gradient at 0 is 0. [...] -> [...]"""
    if self.dtype == jnp.bool_:
        raise RuntimeError("Boolean inputs not supported for relu")
    return _relu(self)


@op(function=False, layout="pointwise", grad_name="HardtanhBackward0")
def _hardtanh(self: Array, min_val: Scalar = -1.0, max_val: Scalar = 1.0) -> Array:
    out = jnp.clip(lax.stop_gradient(self), min_val, max_val).astype(self.dtype)
    return jnp.where((self > min_val) & (self < max_val), self, out)


def hardtanh(self: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x limited to [min_val, max_val]. [...] -> [...]"""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _hardtanh(self, min_val, max_val)


def relu6(self: Any) -> Any:
    """x limited to [0, 6]. [...] -> [...]"""
    return _hardtanh(self, 0.0, 6.0)


@op(
    "method",
    "inplace",
    promote="float",
    layout="pointwise",
    saves=("result",),
    aliases=("special.expit",),
)
def sigmoid(self: Array) -> Array:
    """1 / (1 + exp(-x)). [...] -> [...]"""
    return lax.logistic(self)


@op(
    "method", "inplace", promote="float", layout="pointwise", saves=("result",), out="rounded"
)
def tanh(self: Array) -> Array:
    """Hyperbolic tangent. [...] -> [...]"""
    return jnp.tanh(self)


@op("functional", function=False, layout="pointwise")
def logsigmoid(self: Array) -> Array:
    """log(sigmoid(x)). [...] -> [...]"""
    return -jax.nn.softplus(-self)


@op("functional", function=False, layout="pointwise")
def gelu(self: Array, *, approximate: str = "none") -> Array:
    """x times the normal distribution function at x, exactly or by tanh. [...] -> [...]"""
    if approximate == "tanh":
        return jax.nn.gelu(self, approximate=True)
    if approximate != "none":
        raise RuntimeError("approximate argument must be either none or tanh.")
    # Through erf, not erfc: 0.3 ms against 6.3 ms for a million elements on XLA:CPU.
    return 0.5 * self * (1 + lax.erf(self * 0.7071067811865476))


@op(function=False, layout="pointwise", grad_name="SiluBackward0")
def _silu(self: Array) -> Array:
    return self * lax.logistic(self)


@op(function=False, layout="pointwise", grad_name="MishBackward0")
def _mish(self: Array) -> Array:
    return self * jnp.tanh(jax.nn.softplus(self))


@op(function=False, layout="pointwise", grad_name="LeakyReluBackward0")
def _leaky_relu(self: Array, negative_slope: Scalar = 0.01) -> Array:
    return jnp.where(self > 0, self, self * negative_slope)


def _elu_form(x: Array, alpha: Scalar, scale: Scalar, input_scale: Scalar) -> Array:
    negative = alpha * jnp.expm1(jnp.where(x > 0, 0, x) * input_scale)
    return (jnp.where(x > 0, x, negative) * scale).astype(x.dtype)


@op(function=False, layout="pointwise", grad_name="EluBackward0")
def _elu(self: Array, alpha: Scalar = 1.0) -> Array:
    return _elu_form(self, alpha, 1.0, 1.0)


@op(function=False, layout="pointwise", grad_name="EluBackward0")
def _selu(self: Array) -> Array:
    return _elu_form(self, 1.6732632423543772, 1.0507009873554805, 1.0)


@op(function=False, layout="pointwise", grad_name="EluBackward0")
def _celu(self: Array, alpha: Scalar = 1.0) -> Array:
    return _elu_form(self, alpha, 1.0, 1.0 / alpha)


@op(function=False, layout="pointwise", grad_name="HardsigmoidBackward0")
def _hardsigmoid(self: Array) -> Array:
    outside = (self <= -3) | (self >= 3)
    return jnp.where(outside, (self >= 3).astype(self.dtype), self / 6 + 0.5)


@op(function=False, layout="pointwise", grad_name="HardswishBackward0")
def _hardswish(self: Array) -> Array:
    return jnp.where(self <= -3, 0, jnp.where(self >= 3, self, self * (self + 3) / 6)).astype(
        self.dtype
    )


@op("functional", function=False, layout="pointwise")
def softplus(self: Array, beta: Scalar = 1.0, threshold: Scalar = 20.0) -> Array:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold. [...] -> [...]"""
    scaled = self * beta
    small = jnp.where(scaled > threshold, 0, scaled)
    return jnp.where(scaled > threshold, self, jnp.log1p(jnp.exp(small)) / beta)


@op("functional", function=False, layout="pointwise")
def softshrink(self: Array, lambd: float = 0.5) -> Array:
    """x moved towards 0 by lambd, 0 near it. [...] -> [...]"""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    inside = jnp.where(jnp.isnan(self), self, 0)
    return jnp.where(self > lambd, self - lambd, jnp.where(self < -lambd, self + lambd, inside))


@op("method", "functional", layout="pointwise")
def hardshrink(self: Array, lambd: Scalar = 0.5) -> Array:
    """x where |x| > lambd, else 0. [...] -> [...]"""
    return jnp.where((self >= -lambd) & (self <= lambd), 0, self).astype(self.dtype)


@op("functional", function=False, layout="pointwise")
def tanhshrink(self: Array) -> Array:
    """x - tanh(x). [...] -> [...]"""
    return self - jnp.tanh(self)


@op("functional", function=False, promote="float", layout="pointwise")
def softsign(self: Array) -> Array:
    """x / (1 + |x|). [...] -> [...]"""
    return self / (1 + jnp.abs(self))


@op(function=False, layout="pointwise", grad_name="ThresholdBackward0")
def _threshold(self: Array, threshold: Scalar, value: Scalar) -> Array:
    return jnp.where(self <= threshold, jnp.asarray(value).astype(self.dtype), self)


@op("method", "functional", layout="pointwise")
def prelu(self: Array, weight: Array) -> Array:
    """x where positive, weight * x elsewhere; one weight, or one per channel. [N, C, ...]"""
    if weight.ndim > 1 or (weight.size != 1 and self.ndim >= 2 and (weight.size != self.shape[1])):
        raise RuntimeError(
            f"Mismatch of parameter numbers and input channel size. Found parameter numbers = "
            f"{weight.size} and channel size = {self.shape[1] if self.ndim > 1 else 1}."
        )
    shape = [1] * self.ndim
    if weight.size != 1 and self.ndim >= 2:
        shape[1] = weight.size
    return jnp.where(self > 0, self, weight.reshape(shape if weight.ndim else ()) * self)


@op("functional", function=False, order=like_input)
def glu(self: Array, dim: int = -1) -> Array:
    """The first half times the sigmoid of the second, along a dimension."""
    if not self.ndim:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if self.shape[dim] % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim % self.ndim} is size "
            f"{self.shape[dim]}"
        )
    a, b = jnp.split(self, 2, axis=dim)
    return a * lax.logistic(b)


for _name, _facade, _names in (
    ("relu", relu, ()),
    ("relu6", relu6, ()),
    ("hardtanh", hardtanh, ("min_val", "max_val")),
    ("silu", _silu, ()),
    ("mish", _mish, ()),
    ("leaky_relu", _leaky_relu, ("negative_slope",)),
    ("elu", _elu, ("alpha",)),
    ("selu", _selu, ()),
    ("celu", _celu, ("alpha",)),
    ("hardsigmoid", _hardsigmoid, ()),
    ("hardswish", _hardswish, ()),
    ("threshold", _threshold, ("threshold", "value")),
):
    _declare_functional(_name, _facade, *_names)


@composite("function", "inplace")
def selu(self: Any) -> Any:
    """Scaled exponential linear unit. [...] -> [...]"""
    return _selu(self)


@composite("function", "inplace")
def celu(self: Any, alpha: float = 1.0) -> Any:
    """Continuously differentiable exponential linear unit. [...] -> [...]"""
    return _celu(self, alpha)


@composite("function", "inplace")
def threshold(self: Any, threshold: float, value: float) -> Any:
    """x where above the threshold, else a value. [...] -> [...]"""
    return _threshold(self, threshold, value)


composite(name="_functional_sigmoid", function=False, aliases=("functional.sigmoid",))(
    lambda input: sigmoid(input)
)
composite(name="_functional_tanh", function=False, aliases=("functional.tanh",))(
    lambda input: tanh(input)
)


@op(function=False, saves=("result",), grad_name="SoftmaxBackward0")
def _softmax(self: Array, dim: int) -> Array:
    return jax.nn.softmax(self, dim)


@op(function=False, saves=("result",), grad_name="LogSoftmaxBackward0")
def _log_softmax(self: Array, dim: int) -> Array:
    return jax.nn.log_softmax(self, dim)


def _over_dim(op_: Any, name: str, self: Any, dim: int | None, dtype: Any) -> Any:
    if dim is None:
        dim = 0 if self.ndim in (0, 1, 3) else 1
    if dtype is not None:
        self = self.to(dtype)
    if self.dtype.category < 2:
        raise NotImplementedError(f'"{name}_kernel_impl" not implemented for {self.dtype}')
    span = max(self.ndim, 1)
    if not -span <= dim < span:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], "
            f"but got {dim})"
        )
    if not self.ndim:
        return op_(self.reshape(1), 0).reshape(())
    return op_(self, dim % self.ndim)


@composite("method", "functional", aliases=("special.softmax",))
def softmax(self: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """exp(x), normalised to sum 1 along a dimension. [...] -> [...]"""
    return _over_dim(_softmax, "softmax_lastdim", self, dim, dtype)


@composite("method", "functional", aliases=("special.log_softmax",))
def log_softmax(self: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """The logarithm of softmax. [...] -> [...]"""
    return _over_dim(_log_softmax, "log_softmax_lastdim", self, dim, dtype)


@composite("functional", function=False)
def softmin(self: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """softmax of -x. [...] -> [...]"""
    return softmax(-self, dim, dtype=dtype)


@composite("functional", function=False)
def gumbel_softmax(
    logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Any:
    """softmax((logits + Gumbel noise) / tau); hard: one-hot, with the soft one's gradient.

    [...] -> [...]  (Jang et al., 2017)
    """
    noise = -empty_like(logits).exponential_().log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    chosen = zeros_like(logits).scatter_(dim, soft.max(dim, keepdim=True)[1], 1.0)
    return chosen - soft.detach() + soft
