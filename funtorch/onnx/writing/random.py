"""Rules of random numbers: ONNX draws its own, so values differ, distributions do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val


@rule("_key_fold")
def key_fold(g: Any, key: Val, number: int) -> Any:
    return key


@rule("_key_split")
def key_split(g: Any, key: Val, n: int) -> Any:
    return key.broadcast((n, 2))


def drawn(g: Any, kind: str, shape: Any, **attrs: float) -> Val:
    """float32 numbers in a shape that may be symbolic."""
    like = g.expanded(g.const(np.zeros([1] * len(shape), np.float32)), tuple(shape))
    return g.op(kind, like, shape=tuple(shape), **attrs)  # type: ignore[no-any-return]


@rule("_key_uniform")
def key_uniform(g: Any, key: Val, size: Any, low: Any, high: Any, dtype: Any) -> Any:
    return g.cast(drawn(g, "RandomUniformLike", size, low=float(low), high=float(high)), dtype)


@rule("_key_normal")
def key_normal(g: Any, key: Val, size: Any, mean: Any, std: Any, dtype: Any) -> Any:
    return g.cast(drawn(g, "RandomNormalLike", size, mean=float(mean), scale=float(std)), dtype)


@rule("_key_bernoulli")
def key_bernoulli(g: Any, key: Val, size: Any, p: Any, dtype: Any) -> Any:
    uniform = drawn(g, "RandomUniformLike", size)
    return g.cast(g.op("Less", uniform, g.const(p, np.float32)), dtype)


@rule("_key_exponential")
def key_exponential(g: Any, key: Val, size: Any, rate: Any, dtype: Any) -> Any:
    uniform = drawn(g, "RandomUniformLike", size)
    one = g.const(1, np.float32)
    made = g.op("Neg", g.op("Log", g.op("Sub", one, uniform)))
    return g.cast(g.op("Div", made, g.const(rate, np.float32)), dtype)


@rule("_key_integers")
def key_integers(g: Any, key: Val, size: Any, low: Any, span: Any, dtype: Any) -> Any:
    uniform = drawn(g, "RandomUniformLike", size, low=0.0, high=float(span))
    whole = g.cast(g.op("Floor", uniform), np.int64)
    last = g.op("Min", whole, g.const(int(span) - 1, np.int64))
    return g.cast(g.op("Add", last, g.const(int(low), np.int64)), dtype)
