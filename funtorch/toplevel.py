"""Small functions of the torch namespace that are no ops: questions, constants, switches."""

from __future__ import annotations

import math
import os
import warnings
from typing import Any

import jax

from funtorch import device as _devices
from funtorch import dtypes
from funtorch.methods import LEGACY_NAMES
from funtorch.ops.creation import empty, tensor
from funtorch.overrides import overridable
from funtorch.tensor import Tensor, dtype_of

e, pi, inf, nan = math.e, math.pi, math.inf, math.nan
newaxis = None


def is_tensor(obj: Any) -> bool:
    """Is it a tensor?"""
    return isinstance(obj, Tensor)


@overridable
def is_floating_point(input: Tensor) -> bool:
    """Is it of a floating-point type?"""
    return dtype_of(input).is_floating_point


@overridable
def is_complex(input: Tensor) -> bool:
    """Is it of a complex type?"""
    return dtype_of(input).is_complex


@overridable
def is_signed(input: Tensor) -> bool:
    """Is it of a type with negative numbers?"""
    return dtype_of(input).is_signed


@overridable
def is_conj(input: Tensor) -> bool:
    """Is it a conjugate view?"""
    return bool(input.is_conj())


@overridable
def is_inference(input: Tensor) -> bool:
    """Was it made in inference mode?"""
    return input._inference


@overridable
def is_nonzero(input: Tensor) -> bool:
    """Is the one element other than zero?"""
    if input._value.aval.size == 0:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
    return bool(input)


@overridable
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input._value.aval.size


@overridable
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of pieces of one size, or of the sizes in a list. (The method names it otherwise.)"""
    pieces: tuple[Tensor, ...] = tensor.split(split_size_or_sections, dim)
    return pieces


def can_cast(from_: dtypes.dtype, to: dtypes.dtype) -> bool:
    """May a result of type `from_` be written to a tensor of type `to`?"""
    return dtypes.can_cast(from_, to)


def typename(obj: Any, /) -> str:
    """The full name of an object's type: 'torch.FloatTensor', 'builtins.int'."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", None) or ""
    if module in ("", "builtins"):
        return str(kind.__qualname__)
    return f"{module}.{kind.__qualname__}"


def get_default_device() -> _devices.device:
    """Where factory functions put tensors."""
    return _devices.default_device()


# Legacy tensor types ---------------------------------------------------------------------------


class _TensorType(type):
    dtype: dtypes.dtype
    where: str

    def __call__(cls, *args: Any) -> Tensor:
        if not args:
            return empty(0, dtype=cls.dtype, device=cls.where)
        if len(args) == 1 and not isinstance(args[0], int | tuple):
            return tensor(args[0], dtype=cls.dtype, device=cls.where)
        if len(args) == 1 and isinstance(args[0], tuple) and not hasattr(args[0], "numel"):
            return tensor(args[0], dtype=cls.dtype, device=cls.where)
        return empty(*args, dtype=cls.dtype, device=cls.where)

    def __instancecheck__(cls, obj: Any) -> bool:
        return (
            isinstance(obj, Tensor) and dtype_of(obj) is cls.dtype and obj.device.type == cls.where
        )

    def __repr__(cls) -> str:
        return f"<class '{cls.__module__}.{cls.__name__}'>"


def tensor_types(where: str) -> dict[str, Any]:
    """FloatTensor, LongTensor and so on, for one kind of device."""
    module = "torch" if where == "cpu" else "torch.cuda"
    return {
        f"{short}Tensor": _TensorType(
            f"{short}Tensor",
            (),
            {"dtype": dtypes.by_name(name), "where": where, "__module__": module},
        )
        for name, short in LEGACY_NAMES.items()
    }


# Switches --------------------------------------------------------------------------------------


class _Switches:
    deterministic = False
    warn_only = False
    precision = "highest"


def get_num_threads() -> int:
    """How many threads XLA may use on the CPU: as many as this process has cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(num: int, /) -> None:
    """XLA fixes its threads when it starts; warns if another number is asked for."""
    if num < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    if num != get_num_threads():
        warnings.warn(
            f"XLA keeps its {get_num_threads()} threads; restrict the process to fewer cores "
            "(taskset) before it starts to change that",
            stacklevel=2,
        )


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """XLA's CPU programs are deterministic anyway; on GPUs this must be asked for beforehand."""
    _Switches.deterministic, _Switches.warn_only = bool(mode), bool(warn_only)
    flags = os.environ.get("XLA_FLAGS", "")
    if mode and _devices.gpu_count() and "deterministic_ops=true" not in flags:
        warnings.warn(
            "set XLA_FLAGS=--xla_gpu_deterministic_ops=true before the start for deterministic "
            "programs on GPUs",
            stacklevel=2,
        )


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` set."""
    return _Switches.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` set."""
    return _Switches.warn_only


_PRECISIONS = {"highest": "highest", "high": "high", "medium": "default"}


def set_float32_matmul_precision(precision: str) -> None:
    """How exact float32 matrix products are on GPUs: 'highest', 'high' or 'medium'."""
    if precision not in _PRECISIONS:
        raise RuntimeError(
            f"{precision!r} is not one of 'highest', 'high', 'medium' for "
            "set_float32_matmul_precision"
        )
    _Switches.precision = precision
    jax.config.update("jax_default_matmul_precision", _PRECISIONS[precision])


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` set."""
    return _Switches.precision
