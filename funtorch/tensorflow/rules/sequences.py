"""Sequences as Python lists, optionals as values or None: both are gone once the graph is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.onnx.rules import ints
from funtorch.tensorflow.emission import rule


@rule("SequenceEmpty", raw=True)
def sequence_empty(*, dtype: int = 1) -> Any:
    """A sequence of nothing."""
    return []


@rule("SequenceLength", raw=True)
def sequence_length(values: Any) -> Any:
    """How many elements there are."""
    return np.array(len(values), np.int64)


@rule("SequenceInsert", raw=True)
def sequence_insert(values: Any, value: Any, index: Any = None, *, ctx: Any) -> Any:
    """A sequence with one more element, at the end or before the index."""
    at = len(values) if index is None else int(ctx.host(index))
    at += len(values) if at < 0 else 0
    return [*values[:at], value, *values[at:]]


@rule("SequenceErase", raw=True)
def sequence_erase(values: Any, index: Any = None, *, ctx: Any) -> Any:
    """A sequence without the last element, or the one at the index."""
    at = -1 if index is None else int(ctx.host(index))
    at %= len(values)
    return [*values[:at], *values[at + 1 :]]


@rule("Optional", raw=True)
def optional(value: Any = None, **_: Any) -> Any:
    """A value, or none."""
    return value


@rule("OptionalHasElement", raw=True)
def optional_has_element(value: Any = None) -> Any:
    """Is there a value?"""
    return np.array(value is not None)


@rule("OptionalGetElement", raw=True)
def optional_get_element(value: Any) -> Any:
    """The value."""
    return value


@rule("SequenceAt", raw=True)
def sequence_at(values: Any, index: Any, *, ctx: Any) -> Any:
    """One element of a sequence."""
    return values[int(ctx.host(index))]


@rule("SequenceConstruct", raw=True)
def sequence_construct(*values: Any) -> Any:
    """A sequence of the inputs."""
    return list(values)


@rule("SplitToSequence", raw=True)
def split_to_sequence(
    x: Any, sizes: Any = None, *, ctx: Any, axis: int = 0, keepdims: int = 1
) -> Any:
    """Parts of x along axis: of one size, of given sizes, or one by one."""
    x = ctx.tensor(x)
    if sizes is None:
        parts = tf.unstack(x, axis=axis)
        return [tf.expand_dims(p, axis) for p in parts] if keepdims else parts
    each = ints(ctx.host(sizes))
    if np.ndim(ctx.host(sizes)) == 0:
        whole, rest = divmod(x.shape[axis], each[0])
        each = each * whole + ((rest,) if rest else ())
    return tf.split(x, list(each), axis)


@rule("ConcatFromSequence", raw=True)
def concat_from_sequence(values: Any, *, ctx: Any, axis: int, new_axis: int = 0) -> Any:
    """The elements one after the other, or along a new axis."""
    return (tf.stack if new_axis else tf.concat)([ctx.tensor(v) for v in values], axis)
