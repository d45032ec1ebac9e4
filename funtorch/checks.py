"""torch._check and its kin: conditions that raise, with a message that is made only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch import dtypes
from funtorch.tensor import Tensor, dtype_of

Message = Callable[[], object] | None

_UNSAID = (
    "Expected cond to be True, but got False. (Could this error message be improved? If so, please "
    "report an enhancement request to PyTorch.)"
)


def _check_with(error_type: type[Exception], cond: bool, message: Message) -> None:
    """Raise an error of this type unless the condition holds. TypeError if it is no bool."""
    if not isinstance(cond, bool):
        if isinstance(cond, Tensor):
            raise TypeError(
                "cond must be a bool, but got a Tensor. For tensor conditions, use "
                "torch._check_tensor_all() to assert that all elements are true."
            )
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if not issubclass(error_type, Exception) or issubclass(error_type, Warning):
        raise AssertionError(
            f"error_type must be a subclass of Exception but not Warning, got {error_type}"
        )
    if message is not None and not callable(message):
        raise TypeError("message must be a callable")
    raise error_type(_UNSAID if message is None else str(message()))


def _checker(kind: type[Exception], name: str) -> Callable[..., None]:
    def check(cond: bool, message: Message = None) -> None:
        _check_with(kind, cond, message)

    check.__name__ = check.__qualname__ = name
    check.__doc__ = f"Raises {kind.__name__}(message()) unless the condition holds."
    return check


_check = _checker(RuntimeError, "_check")
_check_index = _checker(IndexError, "_check_index")
_check_value = _checker(ValueError, "_check_value")
_check_type = _checker(TypeError, "_check_type")
_check_not_implemented = _checker(NotImplementedError, "_check_not_implemented")


def _check_is_size(i: Any, message: Message = None, *, max: Any = None) -> None:
    """RuntimeError unless `i` may be a size: not negative, and not above max."""
    _check(i >= 0, message)
    if max is not None:
        _check(i <= max, message)


def _check_tensor_all_with(
    error_type: type[Exception], cond: Tensor, message: Message = None
) -> None:
    """Raise an error of this type unless all elements are true. Reads them on the host."""
    if not isinstance(cond, Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if dtype_of(cond) is not dtypes.bool_:
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _check_with(error_type, bool(cond.all()), message)


def _check_tensor_all(cond: Tensor, message: Message = None) -> None:
    """RuntimeError unless all elements are true. Reads them on the host."""
    _check_tensor_all_with(RuntimeError, cond, message)


def _assert_async(input: Tensor, message: str = "") -> None:
    """Raises RuntimeError if the one element is zero. Waits for it."""
    if input.numel() != 1:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    if not bool(input):
        raise RuntimeError(message or "Expected Tensor with single nonzero value, but got zero")
