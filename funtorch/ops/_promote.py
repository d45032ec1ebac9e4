"""Type promotion inside a lowering: which dtype the operands of an op are brought to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch import dtypes


def result_dtype(operands: Sequence[Any], default: dtypes.dtype) -> dtypes.dtype:
    """PyTorch's result type for arrays, traced scalars and Python numbers.

    Operands rank in three groups: arrays with dimensions, 0-d arrays, Python numbers. A group
    decides only if its category (bool, integer, float, complex) is above those before it.
    """
    groups: list[dtypes.dtype | None] = [None, None, None]
    for operand in operands:
        rank, kind = _classify(operand, default)
        before = groups[rank]
        groups[rank] = kind if before is None else dtypes.promote_types(before, kind)
    result = None
    for kind in groups:
        if kind is None:
            continue
        if result is None:
            result = kind
        elif kind.category > result.category:
            result = _lifted(result, kind)
    assert result is not None
    return result


def _lifted(low: dtypes.dtype, high: dtypes.dtype) -> dtypes.dtype:
    """A lower group meets a higher category: a float64 array with a complex number is complex128."""
    if high.is_complex and low.is_floating_point:
        return low.to_complex()
    return high


class TracedScalar:
    """A Python number that has become an input of the program: an array, and its Python type."""

    __slots__ = ("array", "kind")

    def __init__(self, array: Any, kind: type) -> None:
        self.array = array
        self.kind = kind


def _classify(operand: Any, default: dtypes.dtype) -> tuple[int, dtypes.dtype]:
    if isinstance(operand, TracedScalar):
        return 2, _number_kind(operand.kind, default)
    if isinstance(operand, bool | int | float | complex):
        return 2, _number_kind(type(operand), default)
    return (0 if operand.ndim else 1), dtypes.of(operand.dtype)


def _number_kind(kind: type, default: dtypes.dtype) -> dtypes.dtype:
    if issubclass(kind, bool):
        return dtypes.bool_
    if issubclass(kind, int):
        return dtypes.int64
    if issubclass(kind, complex):
        return default.to_complex()
    return default


def promoted_dtype(rule: str, operands: Sequence[Any], default: dtypes.dtype) -> dtypes.dtype:
    """The dtype that operands are cast to under a rule: 'arith', 'compare' or 'float'."""
    result = result_dtype(operands, default)
    if rule == "float" and result.category < 2:
        return default
    return result


def refuse(name: str, x: Any, *kinds: str, error: type[Exception] = NotImplementedError) -> None:
    """Raise as PyTorch does for dtypes of these kinds: NumPy's 'b', 'i', 'f', 'c', and 'half'."""
    kind = x.dtype.kind
    kind = "i" if kind == "u" else "f" if kind == "V" else kind
    if kind in kinds or ("half" in kinds and kind == "f" and x.dtype.itemsize <= 2):
        raise error(f"\"{name}_cpu\" not implemented for '{x.dtype.name.capitalize()}'")
