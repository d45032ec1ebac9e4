"""Normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.tensorflow.emission import extents, rule


def _per_channel(v: Any, x: Any) -> Any:
    return tf.reshape(v, (1, -1, *(1,) * (x.shape.rank - 2))) if v.shape.rank == 1 else v


def _wide(x: Any, stash_type: int) -> Any:
    """x in the precision of the statistics; never in less than it has."""
    return tf.cast(x, tf.float32) if stash_type == 1 and x.dtype.size < 4 else x


@rule("BatchNormalization")
def batch_normalization(
    x: Any,
    scale: Any,
    b: Any,
    mean: Any,
    var: Any,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
    is_test: int = 0,
) -> Any:
    """Normalises each channel with the running statistics, or with the batch's in training."""
    running: tuple[Any, ...] = ()
    if training_mode:
        m, v = tf.nn.moments(x, [0, *range(2, x.shape.rank)])
        keep = momentum
        running = (mean * keep + m * (1 - keep), var * keep + v * (1 - keep))
        mean, var = m, v
    scale, b, mean, var = (_per_channel(v, x) for v in (scale, b, mean, var))
    inverse = scale * tf.math.rsqrt(var + epsilon)
    return (tf.cast(x * inverse + (b - mean * inverse), x.dtype), *running)


@rule("InstanceNormalization")
def instance_normalization(x: Any, scale: Any, b: Any, *, epsilon: float = 1e-5) -> Any:
    """Normalises each channel of each sample over space."""
    mean, var = tf.nn.moments(x, list(range(2, x.shape.rank)), keepdims=True)
    return _per_channel(scale, x) * ((x - mean) * tf.math.rsqrt(var + epsilon)) + _per_channel(b, x)


@rule("LayerNormalization")
def layer_normalization(
    x: Any,
    scale: Any,
    b: Any = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Any:
    """Normalises over all dimensions from axis on; also the mean and 1 / deviation."""
    wide = _wide(x, stash_type)
    mean, var = tf.nn.moments(wide, _from(axis, x), keepdims=True)
    inverse = tf.math.rsqrt(var + epsilon)
    y = tf.cast((wide - mean) * inverse, x.dtype) * scale
    return (y if b is None else y + b), mean, inverse


def _from(axis: int, x: Any) -> list[int]:
    return list(range(axis % x.shape.rank, x.shape.rank))


@rule("RMSNormalization")
def rms_normalization(
    x: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    """Divides by the root of the mean square over all dimensions from axis on."""
    wide = _wide(x, stash_type)
    square = tf.reduce_mean(wide * wide, _from(axis, x), keepdims=True)
    return tf.cast(tf.cast(wide * tf.math.rsqrt(square + epsilon), x.dtype) * scale, scale.dtype)


@rule("GroupNormalization", since=21)
def group_normalization(
    x: Any, scale: Any, b: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    """Normalises groups of channels of each sample over space."""
    shape = extents(x)
    each = shape[1] // num_groups
    grouped = tf.reshape(_wide(x, stash_type), (shape[0], num_groups, each, *shape[2:]))
    mean, var = tf.nn.moments(grouped, list(range(2, grouped.shape.rank)), keepdims=True)
    y = tf.cast(tf.reshape((grouped - mean) * tf.math.rsqrt(var + epsilon), shape), x.dtype)
    return _per_channel(scale, x) * y + _per_channel(b, x)


@rule("GroupNormalization", since=18, until=20)
def group_normalization_18(
    x: Any, scale: Any, b: Any, *, num_groups: int, epsilon: float = 1e-5
) -> Any:
    """The same with one scale and bias per group."""
    wide = [tf.repeat(v, x.shape[1] // num_groups) for v in (scale, b)]
    return group_normalization(x, *wide, num_groups=num_groups, epsilon=epsilon, stash_type=0)


@rule("LpNormalization")
def lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    """x divided by its p-norm along axis; 0 where that is 0."""
    return tf.math.divide_no_nan(x, tf.norm(x, p, axis, keepdims=True))


@rule("LRN")
def lrn(
    x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Any:
    """Local response normalisation across channels."""
    before = (size - 1) // 2
    border = np.zeros((x.shape.rank, 2), int)
    border[1] = before, size - 1 - before
    squares = tf.pad(x * x, border)
    channels = x.shape[1]
    total = tf.add_n([squares[:, i : i + channels] for i in range(size)])
    return x / (bias + alpha / size * total) ** beta


@rule("MeanVarianceNormalization")
def mean_variance_normalization(x: Any, *, axes: tuple[int, ...] = (0, 2, 3)) -> Any:
    """Zero mean and deviation one over the axes."""
    mean, var = tf.nn.moments(x, list(axes), keepdims=True)
    return (x - mean) / (tf.sqrt(var) + 1e-9)
