"""Values: immutable arrays that may not have been computed yet."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from funtorch.lowering.aval import Aval, Place, aval_of
from funtorch.lowering.forked import check
from funtorch.lowering.x64 import x64

if TYPE_CHECKING:
    from funtorch.lowering.record import Trace


class Value:
    """One immutable array: concrete (`array` is set) or pending in a trace.

    `pinned` says that somebody outside shares the buffer, so that it must never be donated.
    """

    __slots__ = ("__weakref__", "array", "aval", "pinned", "position", "trace")

    def __init__(self, aval: Aval, array: Any = None) -> None:
        self.aval = aval
        self.array = array
        self.trace: Trace | None = None
        self.position = -1
        self.pinned = False

    def __repr__(self) -> str:
        return f"Value({self.aval}{', pending' if self.array is None else ''})"

    def concrete(self) -> Any:
        """The jax.Array, executing what is pending if need be. Does not wait for the device."""
        if self.array is None:
            trace = self.trace
            if trace is None:
                raise RuntimeError(
                    f"the value {self.aval!r} holds no data: it is on the meta device, or the "
                    "program that was to compute it failed"
                )
            trace.flush_for(self)
        return self.array


class HostValue(Value):
    """A concrete value made from integers on the host, which can still look at them there.

    elements: the integers; nobody writes to them.
    """

    __slots__ = ("_reach", "elements")

    def __init__(self, aval: Aval, array: Any, elements: np.ndarray[Any, Any]) -> None:
        super().__init__(aval, array)
        self.elements = elements
        self._reach = -1

    def reach(self) -> int:
        """The greatest element, where negative ones count as huge; 0 if there is none. Looks once."""
        if self._reach < 0:
            unsigned = self.elements.view(_UNSIGNED[self.elements.itemsize])
            self._reach = int(np.maximum.reduce(unsigned, axis=None, initial=0))
        return self._reach


_UNSIGNED = {4: np.uint32, 8: np.uint64}
_KEPT = 1 << 20
"""Bytes of integers that are kept on the host although the value is elsewhere."""


def _stays_on_host(array: Any, place: Place) -> bool:
    if type(array) is not np.ndarray or array.dtype.kind != "i":
        return False
    return array.itemsize in _UNSIGNED and (place.platform == "cpu" or array.nbytes <= _KEPT)


class _Births(threading.local):
    """Constants made while a function is captured: they are its own, not from outside."""

    seen: set[Value] | None = None


births = _Births()


_ALIGNMENT = 64  # bytes; XLA's CPU client takes a buffer over as it is if it begins at a multiple


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An uninitialised NumPy array whose memory `constant` need not copy on the CPU."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    made: np.ndarray[Any, Any] = memory[start : start + size].view(dtype)
    return made.reshape(shape)


def aligned_copy(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy of an array, in C order, that `constant` need not copy again."""
    made = aligned(array.shape, array.dtype)
    np.copyto(made, array)
    return made


def constant(array: Any, place: Place) -> Value:
    """A concrete value for a JAX array, or for a NumPy array that nobody will write to any more."""
    check()
    with x64():
        put = jax.device_put(array, place)
    aval = aval_of(put.shape, put.dtype, place)
    made = HostValue(aval, put, array) if _stays_on_host(array, place) else Value(aval, put)
    if births.seen is not None:
        births.seen.add(made)
    return made


def moved(value: Value, place: Place) -> Value:
    """The same value on another device. Waits until it has been computed."""
    if type(value) is HostValue:
        return constant(aligned_copy(value.elements), place)
    return constant(value.concrete(), place)
