"""Sequences (Python lists) and optionals (a value or None), on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.onnx.rules import rule
from funtorch.ops._declare import TABLE


@rule("SequenceConstruct", raw=True)
def construct(*values: Any) -> Any:
    """A sequence of the inputs."""
    return list(values)


@rule("SequenceEmpty", raw=True)
def empty(*, dtype: int = 1) -> Any:
    """A sequence without elements."""
    return []


def _position(ctx: Any, position: Any) -> int:
    return int(np.asarray(ctx.host(position)).reshape(()))


@rule("SequenceAt", raw=True)
def at(sequence: list[Any], position: Any, *, ctx: Any) -> Any:
    """The element at a position."""
    return sequence[_position(ctx, position)]


@rule("SequenceInsert", raw=True)
def insert(sequence: list[Any], value: Any, position: Any = None, *, ctx: Any) -> Any:
    """A sequence with one more element, at the end or before a position."""
    made = list(sequence)
    made.insert(len(made) if position is None else _position(ctx, position), value)
    return made


@rule("SequenceErase", raw=True)
def erase(sequence: list[Any], position: Any = None, *, ctx: Any) -> Any:
    """A sequence without the last element, or without that at a position."""
    made = list(sequence)
    del made[-1 if position is None else _position(ctx, position)]
    return made


@rule("SequenceLength", raw=True)
def length(sequence: list[Any]) -> Any:
    """The number of elements."""
    return np.array(len(sequence), np.int64)


@rule("ConcatFromSequence", raw=True)
def concat_from_sequence(sequence: list[Any], *, ctx: Any, axis: int, new_axis: int = 0) -> Any:
    """All elements joined along an axis, or along a new one."""
    tensors = [ctx.tensor(v) for v in sequence]
    return TABLE["stack" if new_axis else "cat"].facade(tensors, axis)


@rule("SplitToSequence", raw=True)
def split_to_sequence(
    x: Any, split: Any = None, *, ctx: Any, axis: int = 0, keepdims: int = 1
) -> Any:
    """Parts of x along axis: of one size, of given sizes, or single slices."""
    x = ctx.tensor(x)
    extent = x.shape[axis]
    if split is None:
        parts = TABLE["split_with_sizes"].facade(x, (1,) * extent, axis)
        return list(parts) if keepdims else [p.squeeze(axis) for p in parts]
    sizes = np.asarray(ctx.host(split))
    if sizes.ndim == 0:
        each = int(sizes)
        wanted = [each] * (extent // each) + ([extent % each] if extent % each else [])
    else:
        wanted = [int(n) for n in sizes]
    return list(TABLE["split_with_sizes"].facade(x, tuple(wanted), axis))


@rule("Optional", raw=True)
def optional(value: Any = None, *, type: Any = None) -> Any:
    """An optional that holds the input, or nothing."""
    return value


@rule("OptionalHasElement", raw=True)
def has_element(value: Any = None) -> Any:
    """Is there a value?"""
    return np.array(value is not None)


@rule("OptionalGetElement", raw=True)
def get_element(value: Any) -> Any:
    """The value of an optional."""
    if value is None:
        raise RuntimeError("OptionalGetElement: the optional has no value")
    return value
