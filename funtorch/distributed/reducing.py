"""How elements of several processes become one: the reductions, on NumPy arrays."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class RedOpType(enum.Enum):
    """The reductions by name."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


class ReduceOp:
    """How elements of several processes become one."""

    RedOpType = RedOpType
    SUM = RedOpType.SUM
    AVG = RedOpType.AVG
    PRODUCT = RedOpType.PRODUCT
    MIN = RedOpType.MIN
    MAX = RedOpType.MAX
    BAND = RedOpType.BAND
    BOR = RedOpType.BOR
    BXOR = RedOpType.BXOR
    PREMUL_SUM = RedOpType.PREMUL_SUM


_FUNCTIONS: dict[RedOpType, Any] = {
    RedOpType.SUM: np.add,
    RedOpType.AVG: np.add,
    RedOpType.PRODUCT: np.multiply,
    RedOpType.MIN: np.minimum,
    RedOpType.MAX: np.maximum,
    RedOpType.BAND: np.bitwise_and,
    RedOpType.BOR: np.bitwise_or,
    RedOpType.BXOR: np.bitwise_xor,
}
_BITS = (RedOpType.BAND, RedOpType.BOR, RedOpType.BXOR)


def check_reduction(op: Any, dtype: np.dtype[Any], name: str) -> RedOpType:
    """The reduction, if it is one for this type. Raises what PyTorch with gloo does."""
    if not isinstance(op, RedOpType) or op is RedOpType.PREMUL_SUM:
        raise TypeError(f"{name}: {op!r} is no reduction here")
    if dtype.kind == "c" and op not in (RedOpType.SUM, RedOpType.AVG):
        raise ValueError(f"{name} does not support {op} on complex tensors")
    whole = dtype.kind in "biu"
    if op in _BITS and not whole:
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with non-integral dtype")
    if op is RedOpType.AVG and whole:
        raise RuntimeError(
            f"{name}: result type Float can't be cast to the desired output type {dtype.name}"
        )
    return op


def accumulate(op: RedOpType, into: Array, other: Array) -> None:
    """into = op(into, other), in place."""
    _FUNCTIONS[op](into, other, out=into)


def finish(op: RedOpType, total: Array, count: int) -> None:
    """What is left to do once all have been taken together: AVG divides."""
    if op is RedOpType.AVG and count > 1:
        np.divide(total, np.asarray(count, total.dtype), out=total)
