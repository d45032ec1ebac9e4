"""Memory shared with NumPy.

`from_numpy(a)` and `t.numpy()` promise that both sides see each other's writes. XLA's buffers are
immutable, so such a storage keeps the NumPy array, and the array is the truth: reading takes a
snapshot, writing in place copies the result back. As soon as nobody outside holds the array any
more, the storage becomes an ordinary one again.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from funtorch.lowering import Value, aligned_copy, constant, stats
from funtorch.lowering.callers import user_line
from funtorch.tensor import Storage

_NOTICEABLE = 1e-4  # seconds: a value that was there is handed over in less


def as_numpy(value: Value) -> np.ndarray[Any, Any]:
    """A read-only NumPy array with the elements of a value, which is waited for."""
    pending = value.array is None
    start = time.perf_counter()
    array = np.asarray(value.concrete())
    seconds = time.perf_counter() - start
    if pending or seconds > _NOTICEABLE:
        stats.waited(user_line(), seconds)
    return array


def root(array: np.ndarray[Any, Any]) -> Any:
    """The object that owns an array's memory: its views all hold a reference to it."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner


class Shared:
    """A host array shared with the outside, and who owns its memory."""

    __slots__ = ("array", "owner")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.owner = root(array)

    def held_outside(self) -> bool:
        """Can anybody but us still write to the array?"""
        own = 2 if self.array is self.owner else 1
        inner = 0 if self.array is self.owner or self.array.base is not self.owner else 1
        return sys.getrefcount(self.owner) - 1 > own + inner


def snapshot(storage: Storage) -> Value:
    """The elements now. Leaves sharing when nobody outside is left."""
    shared: Shared = storage.host
    place = storage.value.aval.place
    value = constant(aligned_copy(shared.array), place)
    storage.value = value
    if not shared.held_outside():
        storage.host = None
    return value


def write_back(storage: Storage) -> None:
    """After a write in place: bring the outside's array up to date (waits for the result)."""
    shared: Shared = storage.host
    np.copyto(shared.array, np.asarray(storage.value.concrete()), casting="no")
