"""Reductions, and what looks along an axis: cumulative sums, extremes and their places, top k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from funtorch.onnx.rules import ints
from funtorch.tensorflow.emission import extents, rule


def _extreme(fn: Any, of_bools: Any) -> Callable[..., Any]:
    return lambda x, a, k: (of_bools if x.dtype == tf.bool else fn)(x, a, k)


def _norm2(x: Any, axes: Any, keep: bool) -> Any:
    total = tf.reduce_sum(x * x, axes, keep)
    if not x.dtype.is_integer:
        return tf.sqrt(total)
    return tf.cast(tf.sqrt(tf.cast(total, tf.float64)), x.dtype)


def _reduction(name: str, fn: Callable[[Any, Any, bool], Any]) -> None:
    @rule(name, host="axes_input")
    def reduce_(
        x: Any,
        axes_input: Any = None,
        *,
        axes: Any = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Any:
        where = ints(axes if axes_input is None else axes_input)
        if not where and noop_with_empty_axes:
            # Nothing is reduced, but squares, absolute values and logarithms are taken.
            return tf.squeeze(fn(x[None], [0], True), 0)
        return fn(x, list(where) or None, bool(keepdims))


for _name, _fn in {
    "ReduceSum": tf.reduce_sum, "ReduceMean": tf.reduce_mean, "ReduceProd": tf.reduce_prod,
    "ReduceMax": _extreme(tf.reduce_max, tf.reduce_any),
    "ReduceMin": _extreme(tf.reduce_min, tf.reduce_all),
    "ReduceL1": lambda x, a, k: tf.reduce_sum(tf.abs(x), a, k),
    "ReduceL2": _norm2,
    "ReduceLogSum": lambda x, a, k: tf.math.log(tf.reduce_sum(x, a, k)),
    "ReduceLogSumExp": tf.reduce_logsumexp,
    "ReduceSumSquare": lambda x, a, k: tf.reduce_sum(x * x, a, k),
}.items():  # fmt: skip
    _reduction(_name, _fn)


def _place(name: str, fn: Any) -> None:
    @rule(name)
    def place(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        if select_last_index:
            found = extents(x)[axis] - 1 - fn(tf.reverse(x, [axis]), axis)
        else:
            found = fn(x, axis)
        return tf.expand_dims(found, axis) if keepdims else found


_place("ArgMax", tf.argmax)
_place("ArgMin", tf.argmin)


def _cumulative(name: str, fn: Any) -> None:
    @rule(name, host="axis")
    def cumulative(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
        return fn(x, int(axis.reshape(())), exclusive=bool(exclusive), reverse=bool(reverse))


_cumulative("CumSum", tf.cumsum)
_cumulative("CumProd", tf.math.cumprod)


@rule("TopK", until=9)
def top_k_attribute(x: Any, *, k: int, axis: int = -1) -> Any:
    """The k greatest along axis, and their places."""
    return top_k(x, tf.constant([k]), axis=axis)


@rule("TopK", since=10)
def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    """The k greatest or least along axis, and their places; ties go to the first."""
    rank = x.shape.rank
    count = tf.cast(tf.reshape(k, ()), tf.int32)
    moved = _swapped(x, axis % rank, rank)
    if largest:
        values, places = tf.math.top_k(moved, count)
    else:
        places = tf.argsort(moved, stable=True)[..., :count]
        values = tf.gather(moved, places, batch_dims=rank - 1)
    return tuple(_swapped(v, axis % rank, rank) for v in (values, tf.cast(places, tf.int64)))


def _swapped(x: Any, axis: int, rank: int) -> Any:
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    return x if axis == rank - 1 else tf.transpose(x, order)
