"""Activation functions, and dropout."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.nn import functional
from funtorch.onnx.rules import Array, kernel, rule
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor, from_host


@rule("Relu")
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return functional.relu(x)


@rule("Softplus")
@kernel
def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return jnp.logaddexp(x, jnp.zeros((), x.dtype))


@rule("Softsign")
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return functional.softsign(x)


@rule("Mish")
def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x))."""
    return functional.mish(x)


@rule("Elu")
@kernel
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x, or alpha (exp(x) - 1) below zero."""
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))


@rule("Selu")
@kernel
def selu(
    x: Array, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805
) -> Array:
    """gamma times elu with this alpha."""
    return gamma * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))


@rule("Celu")
@kernel
def celu(x: Array, *, alpha: float = 1.0) -> Array:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return jnp.maximum(x, 0) + jnp.minimum(0, alpha * jnp.expm1(jnp.minimum(x, 0) / alpha))


@rule("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """x, or alpha x below zero."""
    return functional.leaky_relu(x, alpha)


@rule("PRelu")
@kernel
def prelu(x: Array, slope: Array) -> Array:
    """x, or slope x below zero."""
    if slope.ndim == 1 and x.ndim > 2 and slope.shape[0] == x.shape[1] != x.shape[-1]:
        slope = slope.reshape((-1,) + (1,) * (x.ndim - 2))
    return jnp.where(x < 0, slope * x, x).astype(x.dtype)


@rule("HardSigmoid")
@kernel
def hard_sigmoid(x: Array, *, alpha: float = 0.2, beta: float = 0.5) -> Array:
    """alpha x + beta, between 0 and 1."""
    return jnp.clip(alpha * x + beta, 0, 1).astype(x.dtype)


@rule("HardSwish")
@kernel
def hard_swish(x: Array) -> Array:
    """x times hard_sigmoid with alpha 1/6."""
    return x * jnp.clip(x / 6 + 0.5, 0, 1)


@rule("Swish")
@kernel
def swish(x: Array, *, alpha: float = 1.0) -> Array:
    """x sigmoid(alpha x)."""
    return x * jax.nn.sigmoid(alpha * x)


@rule("ThresholdedRelu")
@kernel
def thresholded_relu(x: Array, *, alpha: float = 1.0) -> Array:
    """x above alpha, else 0."""
    return jnp.where(x > alpha, x, jnp.zeros((), x.dtype))


@rule("Shrink")
@kernel
def shrink(x: Array, *, bias: float = 0.0, lambd: float = 0.5) -> Array:
    """x moved towards zero by bias outside of [-lambd, lambd], 0 inside."""
    moved = jnp.where(x < -lambd, x + bias, jnp.where(x > lambd, x - bias, 0))
    return moved.astype(x.dtype)


@rule("Gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """x Phi(x)."""
    return functional.gelu(x, approximate=approximate)


def _flattened(x: Tensor, axis: int, fn: Any) -> Tensor:
    """Before opset 13, everything from the axis on was one dimension."""
    axis %= max(x.ndim, 1)
    rows = int(np.prod(x.shape[:axis], dtype=np.int64))
    return fn(x.reshape(rows, -1), 1).reshape(x.shape)


@rule("Softmax", until=12)
def softmax_flat(x: Tensor, *, axis: int = 1) -> Tensor:
    """Softmax over all dimensions from axis on."""
    return _flattened(x, axis, functional.softmax)


@rule("Softmax", since=13)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Softmax over one dimension."""
    return functional.softmax(x, axis)


@rule("LogSoftmax", until=12)
def log_softmax_flat(x: Tensor, *, axis: int = 1) -> Tensor:
    """Logarithm of softmax over all dimensions from axis on."""
    return _flattened(x, axis, functional.log_softmax)


@rule("LogSoftmax", since=13)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Logarithm of softmax over one dimension."""
    return functional.log_softmax(x, axis)


@rule("Hardmax", until=12)
def hardmax_flat(x: Tensor, *, axis: int = 1) -> Tensor:
    """1 at the first maximum over all dimensions from axis on."""
    return _flattened(x, axis, lambda flat, dim: hardmax(flat, axis=dim))


@rule("Hardmax", since=13)
@kernel
def hardmax(x: Array, *, axis: int = -1) -> Array:
    """1 at the first maximum along axis, 0 elsewhere."""
    first = jnp.argmax(x, axis, keepdims=True)
    return (lax.broadcasted_iota(first.dtype, x.shape, axis % x.ndim) == first).astype(x.dtype)


@rule("Clip", until=10)
@kernel
def clip_attributes(x: Array, *, min: float = -float("inf"), max: float = float("inf")) -> Array:
    """x within [min, max]."""
    return jnp.minimum(jnp.maximum(x, min), max).astype(x.dtype)


@rule("Clip", since=11)
@kernel
def clip(x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """x within [low, high]; high where they cross."""
    if low is not None:
        x = jnp.maximum(x, low)
    return x if high is None else jnp.minimum(x, high)


@rule("Dropout", until=11)
def dropout_attributes(x: Tensor, *, ctx: Any, ratio: float = 0.5, is_test: int = 1) -> Any:
    """Zeroes at random while the module trains."""
    return _dropout(x, ratio, (ctx.module.training and ctx.opset >= 7) or not is_test, None, ctx)


@rule("Dropout", since=12, host="ratio training")
def dropout(
    x: Tensor, ratio: Any = None, training: Any = None, *, ctx: Any, seed: int | None = None
) -> Any:
    """Zeroes at random where training_mode asks for it (absent: while the module trains)."""
    on = ctx.module.training if training is None else bool(training)
    return _dropout(x, 0.5 if ratio is None else float(ratio), on, seed, ctx)


def _dropout(x: Tensor, ratio: float, on: bool, seed: int | None, ctx: Any) -> Any:
    mask: Any = None
    if not on or ratio == 0:
        mask = from_host(np.ones(tuple(x.shape), bool)) if len(ctx.outputs) > 1 else None
        return x, mask
    if seed is not None:
        # ONNX names no generator; its tests were made with NumPy's.
        draw = np.random.RandomState(seed).uniform(0, 1, tuple(x.shape)) >= ratio
        mask = from_host(draw)
    else:
        mask = TABLE["rand_like"].facade(x) >= ratio
    return x * mask * (1 / (1 - ratio)), mask
