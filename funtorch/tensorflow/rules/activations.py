"""Activation functions, softmax, dropout."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from funtorch.tensorflow.emission import extents, rule

rule("Relu")(lambda x: tf.nn.relu(x))
rule("Softplus")(lambda x: tf.math.softplus(x))
rule("Softsign")(lambda x: tf.math.softsign(x))
rule("Mish")(lambda x: x * tf.tanh(tf.math.softplus(x)))


@rule("LeakyRelu")
def leaky_relu(x: Any, *, alpha: float = 0.01) -> Any:
    """x, or alpha x below 0."""
    return tf.nn.leaky_relu(x, alpha)


@rule("PRelu", until=6)
def prelu_channels(x: Any, slope: Any) -> Any:
    """The same with one slope for all, or one per channel."""
    return prelu(x, tf.reshape(slope, (-1, *(1,) * (x.shape.rank - 2))))


@rule("PRelu", since=7)
def prelu(x: Any, slope: Any) -> Any:
    """x, or slope x below 0."""
    return tf.where(x < 0, slope * x, x)


@rule("ThresholdedRelu")
def thresholded_relu(x: Any, *, alpha: float = 1.0) -> Any:
    """x where it is above alpha, else 0."""
    return tf.where(x > alpha, x, tf.zeros_like(x))


def _bent(x: Any, alpha: float, scale: float = 1.0) -> Any:
    """x, or alpha (exp(x / scale) - 1) below 0."""
    if alpha == scale == 1:
        return tf.nn.elu(x)
    return tf.where(x > 0, x, alpha * tf.nn.elu(tf.minimum(x, 0) / scale))


@rule("Elu")
def elu(x: Any, *, alpha: float = 1.0) -> Any:
    """Exponential linear unit."""
    return _bent(x, alpha)


@rule("Celu")
def celu(x: Any, *, alpha: float = 1.0) -> Any:
    """The continuously differentiable one."""
    return _bent(x, alpha, alpha)


@rule("Selu")
def selu(
    x: Any, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Any:
    """The scaled one."""
    return gamma * _bent(x, alpha)


@rule("Gelu")
def gelu(x: Any, *, approximate: str = "none") -> Any:
    """x times the normal distribution function."""
    if approximate == "tanh":
        return tf.nn.gelu(x, True)
    half = tf.constant(0.5, x.dtype)  # TensorFlow's own takes the root of 2 in float32
    return half * x * (1 + tf.math.erf(x * tf.sqrt(half)))


@rule("HardSigmoid")
def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """alpha x + beta between 0 and 1."""
    return tf.clip_by_value(alpha * x + beta, 0, 1)


@rule("HardSwish")
def hard_swish(x: Any) -> Any:
    """x times a hard sigmoid."""
    return x * hard_sigmoid(x, alpha=1 / 6)


@rule("Swish")
def swish(x: Any, *, alpha: float = 1.0) -> Any:
    """x sigmoid(alpha x)."""
    return x * tf.sigmoid(alpha * x)


@rule("Shrink")
def shrink(x: Any, *, bias: float = 0.0, lambd: float = 0.5) -> Any:
    """0 between -lambd and lambd; beyond, nearer to 0 by bias."""
    bias, lambd = tf.cast(bias, x.dtype), tf.cast(lambd, x.dtype)
    zero = tf.zeros_like(x)
    return tf.where(x < -lambd, x + bias, tf.where(x > lambd, x - bias, zero))


def _softmax(fn: Any) -> Any:
    def flat(x: Any, *, axis: int = 1) -> Any:
        """Until opset 12: over everything from axis on."""
        at = axis % x.shape.rank
        rows = tf.reshape(x, (*_product(extents(x)[:at]), *_product(extents(x)[at:])))
        return tf.reshape(fn(rows, 1), extents(x))

    def along(x: Any, *, axis: int = -1) -> Any:
        return fn(x, axis)

    return flat, along


def _product(sizes: Any) -> tuple[Any]:
    made = 1
    for n in sizes:
        made = made * n
    return (made,)


def _hardmax(x: Any, axis: int) -> Any:
    return tf.one_hot(tf.argmax(x, axis), extents(x)[axis], dtype=x.dtype, axis=axis)


for _name, _fn in {
    "Softmax": tf.nn.softmax, "LogSoftmax": tf.nn.log_softmax, "Hardmax": _hardmax,
}.items():  # fmt: skip
    _flat, _along = _softmax(_fn)
    rule(_name, until=12)(_flat)
    rule(_name, since=13)(_along)


@rule("Dropout", until=11)
def dropout_attribute(x: Any, *, ratio: float = 0.5, is_test: int = 1) -> Any:
    """x: what the file says outside of training."""
    return x, tf.ones_like(x, bool)


@rule("Dropout", since=12, host="ratio training")
def dropout(x: Any, ratio: Any = None, training: Any = None, *, seed: int | None = None) -> Any:
    """x with elements dropped, if the node says that it trains."""
    rate = 0.5 if ratio is None else float(ratio)
    if training is None or not bool(training) or rate == 0:
        return x, tf.ones_like(x, bool)
    kept = tf.random.uniform(tf.shape(x), seed=seed) >= rate
    return tf.where(kept, x / (1 - rate), tf.zeros_like(x)), kept
