"""Small functions of the torch namespace that are no ops: questions, constants, switches."""

from __future__ import annotations

import importlib
import math
import os
import warnings
from types import ModuleType
from typing import Any

import jax

from funtorch import dtypes
from funtorch.device import default_device, gpu_count, set_default_device
from funtorch.device import device as _device
from funtorch.ops.creation import empty
from funtorch.ops.from_data import tensor
from funtorch.overrides import overridable
from funtorch.storage import ELEMENT_TYPES, TypedStorage
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
def is_neg(input: Tensor) -> bool:
    """Is negation pending? Never here."""
    return bool(input.is_neg())


@overridable
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Are both of one shape?"""
    return bool(input.is_same_size(other))


@overridable
def is_distributed(input: Tensor) -> bool:
    """Never."""
    return bool(input.is_distributed())


@overridable
def get_device(input: Tensor) -> int:
    """The GPU's index, -1 on the CPU."""
    return int(input.get_device())


@overridable
def detach_(input: Tensor) -> Tensor:
    """Forget the history, in place."""
    made: Tensor = input.detach_()
    return made


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


def _assert(condition: Any, message: str) -> None:
    """`assert` as a function, which a traced graph can hold."""
    assert condition, message


def get_default_device() -> _device:
    """Where factory functions put tensors."""
    return default_device()


def get_device_module(device: Any = None) -> ModuleType:
    """`torch.cuda` for 'cuda', and so on; None: of the GPU if there is one."""
    if device is None:
        device = "cuda" if gpu_count() else "cpu"
    kind = device.split(":")[0] if isinstance(device, str) else _device(device).type
    if kind not in ("cpu", "cuda", "mps", "xpu"):
        raise RuntimeError(f"Device '{kind}' does not have a corresponding module")
    return importlib.import_module(f"funtorch.{kind}")


def set_default_tensor_type(t: Any, /) -> None:
    """Set the default floating-point type, and device, by an old type or its name."""
    if isinstance(t, str):
        module, _, name = t.rpartition(".")
        found = importlib.import_module(module.replace("torch", "funtorch", 1) or t)
        t = getattr(found, name)
    if not isinstance(t, _TensorType) or not t.dtype.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    dtypes.set_default_dtype(t.dtype)
    set_default_device(None if t.where == "cpu" else t.where)


# Legacy tensor types ---------------------------------------------------------------------------


class _TensorType(type):
    dtype: dtypes.dtype
    where: str

    def __call__(cls, *args: Any) -> Tensor:
        if not args:
            return empty(0, dtype=cls.dtype, device=cls.where)
        if len(args) == 1 and isinstance(args[0], TypedStorage):
            return args[0]._elements.detach()
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
        for name, short in ELEMENT_TYPES.items()
        if not name.startswith("complex")
    }


# Switches --------------------------------------------------------------------------------------


class _Switches:
    deterministic = False
    warn_only = False
    warn_always = False
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


def get_num_interop_threads() -> int:
    """How many programs run beside each other: one for each of XLA's threads."""
    return get_num_threads()


def set_num_interop_threads(num: int, /) -> None:
    """As `set_num_threads`."""
    if num < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    set_num_threads(num)


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """XLA's CPU programs are deterministic anyway; on GPUs this must be asked for beforehand."""
    _Switches.deterministic, _Switches.warn_only = bool(mode), bool(warn_only)
    flags = os.environ.get("XLA_FLAGS", "")
    if mode and gpu_count() and "deterministic_ops=true" not in flags:
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


def get_deterministic_debug_mode() -> int:
    """0: off, 1: operations that are not deterministic warn, 2: they raise."""
    return 0 if not _Switches.deterministic else 1 if _Switches.warn_only else 2


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """`use_deterministic_algorithms`, by 0, 1, 2 or 'default', 'warn', 'error'."""
    modes = {"default": 0, "warn": 1, "error": 2}
    mode = modes.get(debug_mode, debug_mode) if isinstance(debug_mode, str) else debug_mode
    if mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1 or 2, got {debug_mode}")
    use_deterministic_algorithms(mode > 0, warn_only=mode == 1)


def set_warn_always(b: bool, /) -> None:
    """Should warnings that come once come every time? Kept; Python's filters decide here."""
    _Switches.warn_always = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` set."""
    return _Switches.warn_always


def set_flush_denormal(mode: bool, /) -> bool:
    """False: XLA decides how denormal numbers are treated."""
    return False


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
