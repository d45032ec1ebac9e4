"""Functions that XLA lacks, computed on the host from within a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.ops._declare import Array

Shaped = tuple[tuple[int, ...], Any]


def host_call(function: Callable[..., Any], results: Sequence[Shaped], *args: Array) -> list[Array]:
    """Call `function` on NumPy arrays; it returns a tuple of arrays, as `results` (shape, dtype) say.

    JAX calls back on a thread where 64-bit types are off, which would halve them on their way. So
    they travel as 32-bit words.
    """
    kinds = [np.dtype(a.dtype) for a in args]
    wanted = [(tuple(shape), np.dtype(dtype)) for shape, dtype in results]

    def call(*words: Any) -> tuple[np.ndarray[Any, Any], ...]:
        given = [_joined(np.asarray(w), kind) for w, kind in zip(words, kinds, strict=True)]
        made = zip(function(*given), wanted, strict=True)
        return tuple(_split(np.asarray(a).astype(kind)) for a, (_, kind) in made)

    shapes = [
        jax.ShapeDtypeStruct((*shape, kind.itemsize // 4), np.uint32)
        if _wide(kind)
        else jax.ShapeDtypeStruct(shape, kind)
        for shape, kind in wanted
    ]
    found = jax.pure_callback(call, shapes, *map(_words, args), vmap_method="expand_dims")
    return [_value(words, kind) for words, (_, kind) in zip(found, wanted, strict=True)]


def _wide(kind: np.dtype[Any]) -> bool:
    return kind in (np.float64, np.int64, np.complex128)


def _split(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[...] -> [..., 2 or 4] words, if it is of a wide type."""
    if not _wide(array.dtype):
        return array
    count = array.itemsize // 4
    return np.ascontiguousarray(array).reshape(-1).view(np.uint32).reshape(*array.shape, count)


def _joined(words: np.ndarray[Any, Any], kind: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if not _wide(kind):
        return words
    return np.ascontiguousarray(words).reshape(-1).view(kind).reshape(words.shape[:-1])


def _words(x: Array) -> Array:
    """As `_split`, in the program."""
    if x.dtype == jnp.complex128:
        parts = jnp.stack([jnp.real(x), jnp.imag(x)], -1)
        return lax.bitcast_convert_type(parts, jnp.uint32).reshape(*x.shape, 4)
    return lax.bitcast_convert_type(x, jnp.uint32) if _wide(np.dtype(x.dtype)) else x


def _value(words: Array, kind: np.dtype[Any]) -> Array:
    """As `_joined`, in the program."""
    if kind == np.complex128:
        parts = lax.bitcast_convert_type(words.reshape(*words.shape[:-1], 2, 2), jnp.float64)
        return lax.complex(parts[..., 0], parts[..., 1])
    return lax.bitcast_convert_type(words, kind) if _wide(kind) else words
