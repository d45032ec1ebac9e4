"""torch._check and its kin: conditions that raise, as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch import dtypes
from funtorch.tensor import Tensor, dtype_of


def _checker(kind: type[Exception], name: str) -> Callable[..., None]:
    def check(cond: Any, message: Callable[[], str] | None = None) -> None:
        if not isinstance(cond, bool):
            raise TypeError(f"cond must be a bool, but got {type(cond)}")
        if cond:
            return
        if message is not None and not callable(message):
            raise TypeError("message must be a callable")
        raise kind("Expected cond to be True, but got False" if message is None else message())

    check.__name__ = check.__qualname__ = name
    check.__doc__ = f"Raises {kind.__name__}(message()) unless the condition holds."
    return check


_check = _checker(RuntimeError, "_check")
_check_index = _checker(IndexError, "_check_index")
_check_value = _checker(ValueError, "_check_value")
_check_type = _checker(TypeError, "_check_type")
_check_not_implemented = _checker(NotImplementedError, "_check_not_implemented")


def _check_is_size(
    i: int, message: Callable[[], str] | None = None, *, max: int | None = None
) -> None:
    """Raises RuntimeError unless 0 <= i (<= max)."""
    _check(i >= 0, message)
    if max is not None:
        _check(i <= max, message)


def _check_tensor_all(cond: Tensor, message: Callable[[], str] | None = None) -> None:
    """Raises RuntimeError unless all elements are true. Waits for them."""
    if not isinstance(cond, Tensor) or dtype_of(cond) is not dtypes.bool:
        raise TypeError(f"cond must be a tensor of booleans, but got {cond}")
    _check(bool(cond.all()), message)


def _assert_async(input: Tensor, message: str = "") -> None:
    """Raises RuntimeError if the one element is zero. Waits for it."""
    if input.numel() != 1:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    if not bool(input):
        raise RuntimeError(message or "Expected Tensor with single nonzero value, but got zero")
