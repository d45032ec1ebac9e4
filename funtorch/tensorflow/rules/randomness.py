"""Random numbers: drawn at each call, with TensorFlow's generators."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from funtorch.tensorflow.emission import rule


def _normal(shape: Any, dtype: Any, mean: float = 0.0, scale: float = 1.0, **_: Any) -> Any:
    return tf.random.normal(shape, mean, scale, dtype)


def _uniform(shape: Any, dtype: Any, low: float = 0.0, high: float = 1.0, **_: Any) -> Any:
    return tf.random.uniform(shape, low, high, dtype)


def _drawn(name: str, draw: Any) -> None:
    @rule(name)
    def of_shape(*, ctx: Any, shape: Any, dtype: int = 1, **options: Any) -> Any:
        return draw(shape, ctx.kind(dtype), **options)

    @rule(f"{name}Like")
    def like(x: Any, *, ctx: Any, dtype: int | None = None, **options: Any) -> Any:
        return draw(tf.shape(x), ctx.kind(dtype) if dtype else x.dtype, **options)


_drawn("RandomNormal", _normal)
_drawn("RandomUniform", _uniform)


@rule("Bernoulli")
def bernoulli(x: Any, *, ctx: Any, dtype: int | None = None, seed: float | None = None) -> Any:
    """1 with the probabilities x, else 0."""
    kept = tf.random.uniform(tf.shape(x), dtype=x.dtype) < x
    return tf.cast(kept, ctx.kind(dtype) if dtype else x.dtype)


@rule("Multinomial")
def multinomial(
    x: Any, *, ctx: Any, dtype: int = 6, sample_size: int = 1, seed: float | None = None
) -> Any:
    """Indices drawn with unnormalised log-probabilities. [N, classes] -> [N, sample_size]"""
    return tf.random.categorical(x, sample_size, ctx.kind(dtype))
