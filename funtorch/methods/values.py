"""A tensor's elements as Python numbers, NumPy's and JAX's arrays, DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch import hostmem
from funtorch.device import device_of
from funtorch.dispatch import read, to_host
from funtorch.methods.table import method
from funtorch.ops._declare import TABLE
from funtorch.storage import ELEMENT_TYPES
from funtorch.tensor import Tensor, dtype_of, size_of, strides_of


@method
def item(self: Tensor) -> Any:
    """The one element as a Python number. Waits for it."""
    if self._value.aval.size != 1:
        raise RuntimeError(
            f"a Tensor with {self._value.aval.size} elements cannot be converted to Scalar"
        )
    return _plain(to_host(self)).item()


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """NumPy's own types for those of ml_dtypes."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


@method
def tolist(self: Tensor) -> Any:
    """Nested lists of Python numbers. Waits for them."""
    array = to_host(self)
    return _plain(array).tolist() if array.dtype.kind != "V" else array.astype(np.float32).tolist()


@method
def numpy(self: Tensor, *, force: bool = False) -> np.ndarray[Any, Any]:
    """A NumPy array that shares memory with this CPU tensor: each sees the other's writes.

    A view of part of a storage, and a tensor on a GPU with force=True, give a copy.
    """
    if self._requires and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    where = device_of(self._value.aval.place)
    if where.type == "cuda" and not force:
        raise TypeError(
            f"can't convert {where} device type tensor to numpy. Use Tensor.cpu() to copy the "
            "tensor to host memory first."
        )
    if where.type == "meta":
        raise TypeError("can't convert meta device type tensor to numpy.")
    if dtype_of(self).name == "bfloat16" or "float8" in dtype_of(self).name:
        raise TypeError(f"Got unsupported ScalarType {ELEMENT_TYPES.get(dtype_of(self).name)}")
    if where.type == "cuda":
        return np.array(to_host(self))
    return _shared(self)


def _shared(self: Tensor) -> np.ndarray[Any, Any]:
    """The host array of this storage, made the first time, and this tensor's window on it."""
    read(self)
    storage = self._storage
    if storage.host is None:
        base = np.array(hostmem.as_numpy(storage.value))
        if storage.layout is not None:
            base = _in_layout(base, storage.layout)
        storage.host = hostmem.Shared(base)
    storage.version += 1  # every window must look at the host from now on
    storage.unwritten = (*storage.unwritten, storage.version)
    self._seen = -1
    array = storage.host.array
    if not self._chain:
        return array
    strides = tuple(s * array.itemsize for s in strides_of(self))
    if dtype_of(self).numpy != array.dtype:
        return np.array(to_host(self))
    flat = _memory(array)
    return np.lib.stride_tricks.as_strided(flat[self._offset :], size_of(self), strides)


def _in_layout(base: np.ndarray[Any, Any], strides: tuple[int, ...]) -> np.ndarray[Any, Any]:
    order = sorted(range(base.ndim), key=lambda d: (-strides[d], d))
    packed = np.ascontiguousarray(base.transpose(order))
    inverse = np.argsort(order)
    return packed.transpose(inverse)


def _memory(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array's elements in the order in which they lie in memory, without a copy."""
    order = sorted(range(array.ndim), key=lambda d: (-array.strides[d], d))
    return array.transpose(order).reshape(-1)


@method
def __array__(self: Tensor, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
    array = numpy(self)
    return array if dtype is None else array.astype(dtype)


@method
def __array_wrap__(self: Tensor, array: Any, context: Any = None, scalar: bool = False) -> Tensor:
    array = np.asarray(array)
    return TABLE["from_numpy"].facade(array.astype(np.uint8) if array.dtype == bool else array)


@method
def __dlpack__(self: Tensor, **options: Any) -> Any:
    if self._requires:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    value = read(self)
    value.pinned = True
    array = value.concrete()
    options.pop("stream", None)
    return array.__dlpack__(**options)


@method
def __dlpack_device__(self: Tensor) -> Any:
    return read(self).concrete().__dlpack_device__()


@method
def __jax_array__(self: Tensor) -> Any:
    """What lets JAX functions take a tensor."""
    value = read(self)
    value.pinned = True
    return value.concrete()
