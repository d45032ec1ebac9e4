"""x[...] and x[...] = y, with everything PyTorch takes, and the functions around them.

Integers, slices, None and ... make views. Tensors, lists and masks gather (a copy). Masks become
integer indices on the host: their count is data, so they are a barrier.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.device import device_of
from funtorch.dispatch import read, to_host
from funtorch.ops import view_rules as rules
from funtorch.ops._bounds import Index
from funtorch.ops._declare import Array, composite, op
from funtorch.ops._orders import gathered
from funtorch.ops.from_data import infer_array
from funtorch.ops.memory import _copied, move
from funtorch.ops.scatter_gather import added
from funtorch.ops.view_ops import select, slice_along
from funtorch.tensor import Tensor, dtype_of, from_host, size_of
from funtorch.views import adopt, check_writable
from funtorch.views import view as make_view


def is_advanced(key: Any) -> bool:
    """Does this index gather (tensors, lists, arrays), other than a plain integer?"""
    if isinstance(key, Tensor):
        return bool(size_of(key)) or dtype_of(key) in (dtypes.bool_, dtypes.uint8)
    return (
        isinstance(key, list | np.ndarray | range)
        and (not isinstance(key, np.ndarray) or key.ndim > 0 or key.dtype == bool)
    ) or (isinstance(key, tuple))


def as_key(key: Any) -> tuple[Any, ...]:
    """The index as a tuple of single indices."""
    if isinstance(key, tuple):
        return key
    if isinstance(key, list) and len(key) < 32 and any(_is_nested(k) for k in key):
        return tuple(key)  # as PyTorch still does: x[[[0, 1]]] is x[[0, 1]]
    return (key,)


def _is_nested(item: Any) -> bool:
    return item is None or item is Ellipsis or isinstance(item, Tensor | slice | list | tuple)


def _consumes(key: Any) -> int:
    """How many dimensions an index takes."""
    if key is None or key is Ellipsis or isinstance(key, bool | np.bool_):
        return 0
    if isinstance(key, Tensor):
        return len(size_of(key)) if dtype_of(key) in (dtypes.bool_, dtypes.uint8) else 1
    if isinstance(key, np.ndarray) and key.dtype == bool:
        return key.ndim
    if isinstance(key, list) and _is_mask(key):
        return np.asarray(key).ndim
    return 1


def _is_mask(key: Any) -> bool:
    while isinstance(key, list) and key:
        key = key[0]
    return isinstance(key, bool | np.bool_)


def _expanded(key: tuple[Any, ...], ndim: int) -> list[Any]:
    """The index with ... replaced by full slices."""
    taken = sum(_consumes(k) for k in key)
    if taken > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    dots = [i for i, k in enumerate(key) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    full = [slice(None)] * (ndim - taken)
    if dots:
        return [*key[: dots[0]], *full, *key[dots[0] + 1 :]]
    return [*key, *full]


def basic(self: Tensor, key: tuple[Any, ...]) -> tuple[Tensor, list[Any]]:
    """Apply the view part of an index; returns the view, and per dimension what gathers (or None)."""
    out = self
    dim = 0
    gathers: list[Any] = []
    for k in _expanded(key, len(size_of(self))):
        if isinstance(k, slice):
            if not (k.start is None and k.stop is None and k.step is None):
                out = slice_along(out, dim, k.start, k.stop, k.step)
            gathers.append(None)
            dim += 1
        elif k is None:
            out = make_view(out, rules.unsqueeze_view, dim)
            gathers.append(None)
            dim += 1
        elif isinstance(k, bool | np.bool_) or _is_one_truth(k):
            out = make_view(out, rules.unsqueeze_view, dim)
            gathers.append(np.zeros(1 if bool(k) else 0, np.int64))
            dim += 1
        elif is_advanced(k):
            found, count = _gather_indices(k, size_of(out), dim)
            gathers.extend(found)
            dim += count
        else:
            out = _integer(out, dim, k)
    return out, gathers


def _integer(self: Tensor, dim: int, key: Any) -> Tensor:
    try:
        index = int(key) if isinstance(key, Tensor) else operator.index(key)
    except TypeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(key).__name__})"
        ) from None
    shape = size_of(self)
    if not -shape[dim] <= index < shape[dim]:
        raise IndexError(
            f"index {index} is out of bounds for dimension {dim} with size {shape[dim]}"
        )
    return select(self, dim, index)


def _is_one_truth(key: Any) -> bool:
    """Is it a mask without dimensions, which takes all or nothing?"""
    if isinstance(key, Tensor):
        return not size_of(key) and dtype_of(key) is dtypes.bool_
    return isinstance(key, np.ndarray) and not key.shape and key.dtype == np.bool_


def _gather_indices(key: Any, shape: tuple[int, ...], dim: int) -> tuple[list[Any], int]:
    """Index arrays (tensors, or NumPy arrays made here) for one gathering index."""
    if not isinstance(key, Tensor | np.ndarray):
        key = infer_array([_plain(k) for k in key], None) if len(key) else np.zeros(0, np.int64)
    kind = dtype_of(key) if isinstance(key, Tensor) else dtypes.of(key.dtype)
    if kind in (dtypes.bool_, dtypes.uint8):
        mask = to_host(key) if isinstance(key, Tensor) else key
        for i, n in enumerate(mask.shape):
            if shape[dim + i] != n:
                raise IndexError(
                    f"The shape of the mask {list(mask.shape)} at index {i} does not match the "
                    f"shape of the indexed tensor {list(shape)} at index {dim + i}"
                )
        return [np.asarray(a) for a in np.nonzero(mask)], mask.ndim
    if kind.category != 1:
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if isinstance(key, np.ndarray):
        _check_range(key, shape[dim], dim)
    return [key], 1


def _plain(item: Any) -> Any:
    return item.tolist() if isinstance(item, Tensor) else item


def _check_range(index: np.ndarray[Any, Any], extent: int, dim: int) -> None:
    if index.size and (index.min() < -extent or index.max() >= extent):
        bad = index.min() if index.min() < -extent else index.max()
        raise IndexError(
            f"index {int(bad)} is out of bounds for dimension {dim} with size {extent}"
        )


def _index_tensors(self: Tensor, gathers: list[Any]) -> list[Tensor | None]:
    where = device_of(self._value.aval.place)
    return [from_host(g, device=where) if isinstance(g, np.ndarray) else g for g in gathers]


_ANY = Index("indices", dim=0, negative=True)


@op(function=False, saves=("indices",), grad_name="IndexBackward0", order=gathered, index=_ANY)
def _index(self: Array, indices: list[Array | None]) -> Array:
    """Gather. self: [...], indices: per dimension an integer array or None"""
    return self[tuple(slice(None) if i is None else i for i in indices)]


@op(
    function=False,
    saves=("indices",),
    grad_name="IndexPutBackward0",
    layout="pointwise",
    index=_ANY,
)
def _index_put(
    self: Array, indices: list[Array | None], values: Array, accumulate: bool = False
) -> Array:
    """Scatter `values`, broadcast, into a copy of self."""
    where = self.at[tuple(slice(None) if i is None else i for i in indices)]
    values = values.astype(self.dtype)
    return added(where, values) if accumulate else where.set(values)


def getitem(self: Tensor, key: Any) -> Tensor:
    """x[key]"""
    if type(key) is int and size_of(self):
        return _integer(self, 0, key)
    out, gathers = basic(self, as_key(key))
    if any(g is not None for g in gathers):
        while gathers and gathers[-1] is None:
            gathers.pop()
        return _index(out, _index_tensors(self, gathers))
    if out is self:
        return make_view(self, rules.alias_view)
    return out


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """x[key] = value"""
    check_writable(self)
    read(self)
    out, gathers = basic(self, as_key(key))
    source = _as_value(self, value)
    if any(g is not None for g in gathers):
        while gathers and gathers[-1] is None:
            gathers.pop()
        adopt(out, _index_put(out, _index_tensors(self, gathers), source))
        return
    shape = size_of(out)
    extra = len(size_of(source)) - len(shape)
    if extra > 0 and all(n == 1 for n in size_of(source)[:extra]):
        source = source.reshape(size_of(source)[extra:])
    if not _broadcastable(size_of(source), shape):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(size_of(source))} cannot be broadcast "
            f"to indexing result of shape {list(shape)}"
        )
    adopt(out, _copied(out, source))


def _broadcastable(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(
        n in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False)
    )


def _as_value(self: Tensor, value: Any) -> Tensor:
    place = self._value.aval.place
    if isinstance(value, Tensor):
        if value._value.aval.place is not place:
            if size_of(value):
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but found at least two "
                    f"devices, {self.device} and {value.device}!"
                )
            return move(value, place)
        return value
    kind = None if isinstance(value, np.ndarray) else dtype_of(self)
    if isinstance(value, complex) and not dtype_of(self).is_complex:
        raise RuntimeError("value cannot be converted to type float without overflow")
    return from_host(infer_array(value, kind), device=device_of(place))


# Functions -----------------------------------------------------------------------------------


@composite("method", "inplace")
def index_put(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """`x[indices] = values` into a copy; accumulate adds instead, duplicates too."""
    shape = size_of(self)
    gathers: list[Any] = []
    for key in indices:
        if key is None:
            gathers.append(None)
        else:
            gathers.extend(_gather_indices(key, shape, len(gathers))[0])
    return _index_put(self, _index_tensors(self, gathers), values, accumulate)
