"""Normalisations."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.dtypes import float32
from funtorch.nn import functional
from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor


@rule("BatchNormalization")
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    ctx: Any,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
    is_test: int = 0,
) -> Any:
    """Normalises each channel with the running statistics, or with the batch's in training."""
    if not training_mode:
        if x.ndim > 1 and x.dtype == scale.dtype == mean.dtype and scale.ndim == 1:
            return functional.batch_norm(x, mean, var, scale, b, eps=epsilon)
        return _batch_norm_of(x, scale, b, mean, var, epsilon=epsilon)
    return _batch_norm_training(x, scale, b, mean, var, epsilon=epsilon, momentum=momentum)


def _per_channel(v: Array, x: Array) -> Array:
    return v.reshape((1, -1) + (1,) * (x.ndim - 2)) if v.ndim == 1 else v


@kernel
def _batch_norm_of(
    x: Array, scale: Array, b: Array, mean: Array, var: Array, *, epsilon: float
) -> Array:
    scale, b, mean, var = (_per_channel(v, x) for v in (scale, b, mean, var))
    return (scale * (x - mean) / jnp.sqrt(var + epsilon) + b).astype(x.dtype)


@kernel
def _batch_norm_training(
    x: Array, scale: Array, b: Array, mean: Array, var: Array, *, epsilon: float, momentum: float
) -> tuple[Array, Array, Array]:
    axes = (0, *range(2, x.ndim))
    m, v = jnp.mean(x, axes), jnp.var(x, axes)
    y = _batch_norm_of.lower(x, scale, b, m, v, epsilon=epsilon)
    running = (mean * momentum + m * (1 - momentum), var * momentum + v * (1 - momentum))
    return y, running[0].astype(mean.dtype), running[1].astype(var.dtype)


@rule("InstanceNormalization")
@kernel
def instance_normalization(x: Array, scale: Array, b: Array, *, epsilon: float = 1e-5) -> Array:
    """Normalises each channel of each sample over space."""
    axes = tuple(range(2, x.ndim))
    mean, var = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    y = (x - mean) / jnp.sqrt(var + epsilon)
    return (_per_channel(scale, x) * y + _per_channel(b, x)).astype(x.dtype)


def _wide(x: Array, stash_type: int) -> Array:
    """x in the precision of the statistics; never in less than it has."""
    return x.astype(jnp.float32) if stash_type == 1 and x.dtype.itemsize < 4 else x


@rule("LayerNormalization")
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor | None = None,
    *,
    ctx: Any,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Any:
    """Normalises over all dimensions from axis on; also the mean and 1 / deviation if wanted."""
    shape = tuple(x.shape[axis % x.ndim :])
    plain = x.dtype == scale.dtype == float32 and tuple(scale.shape) == shape
    if plain and not any(ctx.outputs[1:]) and (b is None or tuple(b.shape) == shape):
        return functional.layer_norm(x, shape, scale, b, epsilon)
    return _layer_norm_of(x, scale, b, axis=axis, epsilon=epsilon, stash_type=stash_type)


@kernel
def _layer_norm_of(
    x: Array,
    scale: Array,
    b: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Array, Array, Array]:
    axes = tuple(range(axis % x.ndim, x.ndim))
    wide = _wide(x, stash_type)
    mean = jnp.mean(wide, axes, keepdims=True)
    inverse = 1 / jnp.sqrt(jnp.mean((wide - mean) ** 2, axes, keepdims=True) + epsilon)
    y = ((wide - mean) * inverse).astype(x.dtype) * scale
    return (y if b is None else y + b).astype(x.dtype), mean, inverse


@rule("RMSNormalization")
@kernel
def rms_normalization(
    x: Array, scale: Array, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Array:
    """Divides by the root of the mean square over all dimensions from axis on."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    wide = _wide(x, stash_type)
    inverse = 1 / jnp.sqrt(jnp.mean(wide * wide, axes, keepdims=True) + epsilon)
    return ((wide * inverse).astype(x.dtype) * scale).astype(scale.dtype)


@rule("GroupNormalization", since=21)
@kernel
def group_normalization(
    x: Array,
    scale: Array,
    b: Array,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Array:
    """Normalises groups of channels of each sample over space."""
    wide = _wide(x, stash_type)
    grouped = wide.reshape(x.shape[0], num_groups, -1)
    mean, var = jnp.mean(grouped, 2, keepdims=True), jnp.var(grouped, 2, keepdims=True)
    y = ((grouped - mean) / jnp.sqrt(var + epsilon)).reshape(x.shape).astype(x.dtype)
    return (_per_channel(scale, x) * y + _per_channel(b, x)).astype(x.dtype)


@rule("GroupNormalization", since=18, until=20)
def group_normalization_18(
    x: Tensor, scale: Tensor, b: Tensor, *, num_groups: int, epsilon: float = 1e-5
) -> Tensor:
    """The same with one scale and bias per group."""
    each = x.shape[1] // num_groups
    wide = [v.reshape(-1, 1).expand(-1, each).reshape(-1) for v in (scale, b)]
    return group_normalization(x, *wide, num_groups=num_groups, epsilon=epsilon, stash_type=0)


@rule("LpNormalization")
@kernel
def lp_normalization(x: Array, *, axis: int = -1, p: int = 2) -> Array:
    """x divided by its p-norm along axis; 0 where that is 0."""
    if p == 1:
        norm = jnp.sum(jnp.abs(x), axis, keepdims=True)
    else:
        norm = jnp.sqrt(jnp.sum(x * x, axis, keepdims=True))
    return jnp.where(norm == 0, 0, x / jnp.where(norm == 0, 1, norm)).astype(x.dtype)


@rule("LRN")
@kernel
def lrn(
    x: Array, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Array:
    """Local response normalisation across channels."""
    before = (size - 1) // 2
    window = (1, size) + (1,) * (x.ndim - 2)
    border = [(0, 0), (before, size - 1 - before)] + [(0, 0)] * (x.ndim - 2)
    zero = np.zeros((), x.dtype)[()]
    squares = lax.reduce_window(x * x, zero, lax.add, window, (1,) * x.ndim, border)
    return (x / (bias + alpha / size * squares) ** beta).astype(x.dtype)


@rule("MeanVarianceNormalization")
@kernel
def mean_variance_normalization(x: Array, *, axes: tuple = (0, 2, 3)) -> Array:
    """Zero mean and deviation one over the axes."""
    mean = jnp.mean(x, axes, keepdims=True)
    deviation = jnp.sqrt(jnp.mean(x * x, axes, keepdims=True) - mean**2)
    return ((x - mean) / (deviation + 1e-9)).astype(x.dtype)
