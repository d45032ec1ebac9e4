"""Pickle and deepcopy of tensors, and the memory behind a tensor as a flat NumPy array."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from funtorch import dtypes, hostmem
from funtorch.device import device
from funtorch.dispatch import read
from funtorch.grad_mode import mode
from funtorch.lowering import META
from funtorch.ops.creation import empty
from funtorch.ops.view_ops import as_strided
from funtorch.tensor import (
    Storage,
    Tensor,
    alias,
    as_subclass,
    contiguous_strides,
    device_of_tensor,
    dtype_of,
    from_host,
    size_of,
    strides_of,
)


def memory_of(storage: Storage) -> np.ndarray[Any, Any]:
    """All elements of a storage in the order in which they lie in memory: [n]."""
    value = storage.value if storage.host is None else hostmem.snapshot(storage)
    array = hostmem.as_numpy(value)
    if storage.layout is None:
        return np.ascontiguousarray(array).reshape(-1)
    memory = np.empty(array.size, array.dtype)
    strides = tuple(step * array.itemsize for step in storage.layout)
    np.lib.stride_tricks.as_strided(memory, array.shape, strides)[...] = array
    return memory


def owner_of(
    memory: np.ndarray[Any, Any], size: tuple[int, ...], stride: tuple[int, ...], where: Any
) -> Tensor:
    """A tensor that owns a new storage with this memory ([n]).

    It has the wanted size and stride where these cover the memory densely, so that parameters
    become plain tensors; else it is flat, and the caller takes a window of it.
    """
    if stride == contiguous_strides(size) and _count(size) == memory.size:
        return from_host(memory.reshape(size), device=where)
    if size and _count(size) == memory.size and _is_dense(size, stride):
        steps = tuple(step * memory.itemsize for step in stride)
        made = from_host(
            np.lib.stride_tricks.as_strided(memory, size, steps, writeable=False), device=where
        )
        made._stride = made._storage.layout = stride
        return made
    return from_host(memory, device=where)


def window(owner: Tensor, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Tensor:
    """A tensor of this size, stride and offset on the storage of `owner`, outside autograd."""
    if offset == 0 and size == size_of(owner) and stride == strides_of(owner):
        return alias(owner)
    if _count(size) == 0:
        made = from_host(np.empty(size, dtype_of(owner).numpy), device=device_of_tensor(owner))
        made._stride = None if stride == contiguous_strides(size) else stride
        return made
    before, mode.enabled = mode.enabled, False
    try:
        return as_strided(owner, size, stride, offset)
    finally:
        mode.enabled = before


def _count(size: tuple[int, ...]) -> int:
    return math.prod(size)


def _is_dense(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for step, extent in sorted((s, n) for s, n in zip(stride, size, strict=True) if n != 1):
        if step != expected:
            return False
        expected *= extent
    return True


# Pickle ----------------------------------------------------------------------------------------


def reduce_tensor(self: Tensor, protocol: Any = None) -> Any:
    """What pickle keeps of a tensor: its memory, its window on it, and its attributes."""
    if self._value.aval.place is META:
        made: Any = (_rebuild_meta, (size_of(self), dtype_of(self), self._requires))
    else:
        plain = self.resolve_conj().detach()
        read(plain)
        memory = memory_of(plain._storage)
        made = (
            _rebuild,
            (
                memory.view(np.uint8),
                dtype_of(plain),
                size_of(plain),
                strides_of(plain),
                plain._offset,
                str(device_of_tensor(plain)),
                self._requires and self._node is None,
            ),
        )
    if type(self) is not Tensor or self.__dict__:
        return _rebuild_subclass, (type(self), *made, dict(self.__dict__))
    return made


def _rebuild(
    data: np.ndarray[Any, Any],
    kind: dtypes.dtype,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int,
    where: str,
    requires_grad: bool,
) -> Tensor:
    memory = data.view(kind.numpy)
    made = window(owner_of(memory, size, stride, device(where)), size, stride, offset)
    made._requires = requires_grad
    return made


def _rebuild_meta(size: tuple[int, ...], kind: dtypes.dtype, requires_grad: bool) -> Tensor:
    made: Tensor = empty(size, dtype=kind, device="meta")
    made._requires = requires_grad
    return made


def _rebuild_subclass(cls: type, function: Any, arguments: Any, state: dict[str, Any]) -> Any:
    made = as_subclass(function(*arguments), cls)
    made.__dict__.update(state)
    return made


# Deepcopy --------------------------------------------------------------------------------------


def deepcopy_tensor(self: Tensor, memo: dict[int, Any]) -> Any:
    """A copy with a storage of its own; tensors that share one still share it when copied."""
    if id(self) in memo:
        return memo[id(self)]
    read(self)
    if self._node is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment; call .detach() on this one first"
        )
    storage = memo.get(id(self._storage))
    if storage is None:
        if self._storage.host is not None:
            hostmem.snapshot(self._storage)
        # Values are immutable: both storages may hold the same one until either is written.
        storage = Storage(self._storage.value, self._storage.layout)
        memo[id(self._storage)] = storage
    made = alias(self)
    made._storage, made._seen = storage, storage.version
    made._requires = self._requires
    made = made if type(self) is Tensor else as_subclass(made, type(self))
    memo[id(self)] = made
    if self._grad is not None:
        made._grad = copy.deepcopy(self._grad, memo)
    if self.__dict__:
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return made
