"""Tensors from Python numbers, sequences, NumPy arrays and buffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch import dtypes, hostmem
from funtorch.device import place_of
from funtorch.ops._declare import composite
from funtorch.ops.creation import empty, finish
from funtorch.ops.memory import _clone, as_dtype, convert
from funtorch.tensor import Tensor, dtype_of, from_host, legacy_constructor


def infer_array(data: Any, dtype: dtypes.dtype | None) -> np.ndarray[Any, Any]:
    """A NumPy array with Python data, typed as PyTorch types it."""
    if isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
        dtypes.of(array.dtype)
        return array if dtype is None else _cast_host(array, dtype)
    flat = _without_tensors(data)
    if dtype is None:
        dtype = _inferred(flat)
    try:
        array = np.array(flat) if dtype.category else np.array(flat, dtype=bool)
    except ValueError as error:
        raise ValueError(
            f"expected sequences of equal lengths at every dimension: {error}"
        ) from None
    if array.dtype == object or array.dtype.kind in "US":
        raise TypeError(_not_numbers(data))
    if array.size == 0:
        return np.zeros(array.shape, dtype.numpy)
    if array.dtype.kind in "iu" and dtype.category == 1:
        info = np.iinfo(dtype.numpy)
        if array.min() < info.min or array.max() > info.max:
            raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    return _cast_host(array, dtype)


def _not_numbers(data: Any) -> str:
    kind = (
        type(data[0]).__name__
        if isinstance(data, Sequence) and len(data)
        else (type(data).__name__)
    )
    if isinstance(data, str):
        return "new(): invalid data type 'str'"
    return f"not a sequence of numbers: could not infer dtype of {kind}"


def _cast_host(array: np.ndarray[Any, Any], dtype: dtypes.dtype) -> np.ndarray[Any, Any]:
    if array.dtype == dtype.numpy:
        return array
    if array.dtype.kind == "c" and not dtype.is_complex:
        array = array.real
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy)


def _without_tensors(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, str):
        raise TypeError("new(): invalid data type 'str'")
    if isinstance(data, list | tuple | range):
        return [_without_tensors(item) for item in data]
    if isinstance(data, bool | int | float | np.generic | np.ndarray) or data is None:
        if data is None:
            raise RuntimeError("Could not infer dtype of NoneType")
        return data
    if type(data).__name__ == "complex":
        return data
    if hasattr(data, "__array__"):
        return np.asarray(data)
    if isinstance(data, Sequence):
        return [_without_tensors(item) for item in data]
    if hasattr(data, "__index__"):
        return data.__index__()
    if hasattr(data, "__float__"):
        return float(data)
    raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


def _inferred(data: Any) -> dtypes.dtype:
    category = _category(data)
    if isinstance(category, dtypes.dtype):
        return category
    default = dtypes.get_default_dtype()
    return (
        (dtypes.bool_, dtypes.int64, default, default.to_complex())[max(category, 0)]
        if (category >= 0)
        else default
    )


def _category(data: Any) -> Any:
    """0 bool, 1 int, 2 float, 3 complex; -1 for nothing; a dtype for NumPy data."""
    if isinstance(data, list):
        found: Any = -1
        for item in data:
            kind = _category(item)
            if isinstance(kind, dtypes.dtype) or isinstance(found, dtypes.dtype):
                found = _joined(found, kind)
            else:
                found = max(found, kind)
        return found
    if isinstance(data, np.ndarray | np.generic):
        return dtypes.of(data.dtype)
    if isinstance(data, bool):
        return 0
    if isinstance(data, int):
        return 1
    return 2 if isinstance(data, float) else 3


def _joined(a: Any, b: Any) -> Any:
    default = dtypes.get_default_dtype()
    kinds = [
        k
        if isinstance(k, dtypes.dtype)
        else (dtypes.bool_, dtypes.int64, default, default.to_complex())[k]
        for k in (a, b)
        if k != -1
    ]
    return kinds[0] if len(kinds) == 1 else dtypes.promote_types(*kinds)


@composite()
def tensor(
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor with a copy of `data`: numbers, nested sequences, arrays, tensors."""
    kind = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Tensor):
        made = _clone(data.detach())
        made = convert(made, kind, device)
    else:
        made = from_host(infer_array(data, kind), device=device)
    if requires_grad:
        made.requires_grad_()
    return made


@composite("method", function=False)
def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`tensor(data)` of this dtype and device."""
    kind = dtype_of(self) if dtype is None else dtype
    where = self.device if device is None else device
    return tensor(data, dtype=kind, device=where, requires_grad=requires_grad)


class Bytes:
    """What is made of bytes, of which `as_tensor` makes a tensor."""

    def as_bytes(self) -> Tensor:
        """A tensor of the bytes. -> [n] uint8"""
        raise NotImplementedError


@composite(aliases=("asarray",))
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing memory where that is possible."""
    kind = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Bytes):
        data = data.as_bytes()
    if isinstance(data, Tensor):
        return convert(data, kind, device)
    if isinstance(data, np.ndarray) and (device is None or place_of(device) is place_of("cpu")):
        dtypes.of(data.dtype)
        if kind is None or kind.numpy == data.dtype:
            return from_numpy(data)
    return tensor(data, dtype=kind, device=device)


@composite()
def from_numpy(ndarray: np.ndarray[Any, Any]) -> Tensor:
    """A CPU tensor that shares memory with a NumPy array: each sees the other's writes."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.of(ndarray.dtype)
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array with array.copy().)"
        )
    made = from_host(ndarray)
    made._stride = made._storage.layout = _host_layout(ndarray)
    if ndarray.flags.writeable:
        made._storage.host = hostmem.Shared(ndarray)
        made._seen = -1
    return made


def _host_layout(array: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    if array.flags.c_contiguous:
        return None
    return tuple(s // array.itemsize for s in array.strides)


@composite()
def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A one-dimensional tensor on a buffer's bytes."""
    kind = as_dtype(dtype)
    array = np.frombuffer(buffer, dtype=kind.numpy, count=count, offset=offset)
    return finish(from_numpy(array), requires_grad)


@composite()
def scalar_tensor(
    s: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A 0-d tensor. -> []"""
    kind = dtypes.get_default_dtype() if dtype is None else dtype
    if kind is dtypes.uint8 and isinstance(s, int) and -256 < s < 0:
        s += 256  # PyTorch lets negative numbers wrap around here
    return tensor(s, dtype=kind, device=device, requires_grad=requires_grad)


def _legacy(*args: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor:
    """`Tensor(2, 3)`, `Tensor([1., 2.])`, `FloatTensor(...)`."""
    kind = dtypes.get_default_dtype() if dtype is None else dtype
    if not args:
        return empty(0, dtype=kind, device=device)
    first = args[0]
    if len(args) == 1 and isinstance(first, Tensor):
        return first.detach() if first.dtype is kind else _wrong_type(first, kind)
    if len(args) == 1 and type(first).__name__ == "TypedStorage":
        return _legacy(first._elements, dtype=kind)
    sized = type(first).__name__ == "Size"
    if len(args) == 1 and not sized and not isinstance(first, int):
        return tensor(first, dtype=kind, device=device)
    return empty(*args, dtype=kind, device=device)


def _wrong_type(given: Tensor, kind: dtypes.dtype) -> Tensor:
    raise TypeError(f"expected {kind!r} (got {given.dtype!r})")


legacy_constructor[0] = _legacy
