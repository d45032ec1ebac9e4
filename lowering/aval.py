"""Abstract values: what is known of an array before it exists.

Avals are interned, so that two equal ones are the same object: a cache key made of avals hashes and
compares by identity, which is what makes recording an op cheap.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

META = "meta"
"""The place of arrays that have a shape and a dtype and never any data."""

Place = Any  # a jax.Device, or META


class Aval:
    """Shape, dtype and place of one array. Make one with `aval_of`, never directly."""

    __slots__ = ("dtype", "ndim", "place", "shape", "size")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], place: Place) -> None:
        self.shape = shape
        self.dtype = dtype
        self.place = place
        self.ndim = len(shape)
        self.size = math.prod(shape)  # number of elements

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    @property
    def nbytes(self) -> int:
        """Bytes that a dense array of this kind takes."""
        return self.size * self.dtype.itemsize

    def struct(self) -> jax.ShapeDtypeStruct:
        """The same thing as JAX says it, without a place."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype)


_interned: dict[tuple[tuple[int, ...], np.dtype[Any], Place], Aval] = {}


def aval_of(shape: tuple[int, ...], dtype: np.dtype[Any], place: Place) -> Aval:
    """The one Aval with this shape, dtype and place."""
    key = (shape, dtype, place)
    found = _interned.get(key)
    if found is None:
        # setdefault keeps one winner when two threads meet here.
        found = _interned.setdefault(key, Aval(shape, dtype, place))
    return found
