"""`data_ptr()`: where a tensor's elements can be read.

XLA's buffers change hands: a write in place makes a new one, and equal tensors may share one. So a
storage that is asked for its address gets memory of its own on the host, which keeps its place for as
long as the storage lives and is brought up to date whenever somebody asks again. What is written there
from outside is not seen.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np

from funtorch.device import device_of
from funtorch.dispatch import to_host
from funtorch.hostmem import as_numpy
from funtorch.lowering.record import owner
from funtorch.ops.view_ops import as_strided
from funtorch.tensor import Storage, Tensor, alias


class _Mirror(NamedTuple):
    """The elements of a storage in the order of memory, as of a version."""

    version: int
    array: np.ndarray[Any, Any]


_mirrors: weakref.WeakKeyDictionary[Storage, _Mirror] = weakref.WeakKeyDictionary()


def whole(of: Tensor) -> Tensor:
    """All elements of a tensor's storage in the order of memory, sharing it. -> [n]"""
    count = of._storage.value.aval.size
    return as_strided(alias(of), (count,), (1,), 0)


def address(of: Tensor) -> int:
    """The address of the first element of a tensor's storage, 0 for an empty one. Waits for its value.

    On other devices than the CPU, and inside transformations, a number that names the storage.
    """
    storage = of._storage
    aval = storage.value.aval
    if aval.size == 0:
        return 0
    if owner().capture is not None or device_of(aval.place).type != "cpu":
        return name_of(storage)
    if storage.host is not None:
        return int(storage.host.array.ctypes.data)
    found = _mirrors.get(storage)
    if found is None or found.version != storage.version:
        now = as_numpy(storage.value) if storage.layout is None else to_host(whole(of))
        array = np.empty_like(now) if found is None else found.array
        np.copyto(array, now)
        found = _mirrors[storage] = _Mirror(storage.version, array)
    return int(found.array.ctypes.data)


def name_of(storage: Storage) -> int:
    """A number that no other living storage has."""
    return id(storage) * 64
