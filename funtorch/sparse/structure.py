"""Transposes, slices, joins and reductions of sparse tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.layouts import sparse_bsc, sparse_bsr, sparse_csc, sparse_csr
from funtorch.ops.creation import full
from funtorch.ops.joining import cat
from funtorch.ops.memory import convert
from funtorch.ops.view_ops import wrap_dim
from funtorch.sparse import compressed as csr
from funtorch.sparse.compressed import BY_BLOCKS, CompressedTensor, as_coo, compressed, from_coo
from funtorch.sparse.coo import CooTensor, coo, handles, linear, wrapped_dims
from funtorch.sparse.kernels import segment_softmax
from funtorch.sparse.pointwise import for_both
from funtorch.tensor import Tensor, device_of_tensor, from_host, size_of

# Order of dimensions ----------------------------------------------------------------------------


@handles("permute")
def _permute(self: CooTensor, *dims: Any) -> CooTensor:
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    order, count = wrapped_dims(given, self.ndim), self.sparse_dim()
    if sorted(order) != list(range(self.ndim)):
        raise RuntimeError(f"permute(): invalid or repeated dims {tuple(given)}")
    if any(d >= count for d in order[:count]):
        raise RuntimeError("permute: sparse tensors cannot exchange sparse and dense dimensions")
    places = self._places.index_select(0, from_host(np.array(order[:count], np.int64)))
    inner = self._inner.permute(0, *[d - count + 1 for d in order[count:]])
    unchanged = order[:count] == tuple(range(count))
    return coo(places, inner, [size_of(self)[d] for d in order], self._unique and unchanged)


@handles("transpose", "swapaxes", "swapdims")
def _transpose(self: CooTensor, dim0: int, dim1: int) -> CooTensor:
    order = list(range(self.ndim))
    one, other = wrapped_dims((dim0, dim1), self.ndim)
    if (one < self.sparse_dim()) != (other < self.sparse_dim()):
        raise RuntimeError(
            "transpose: can't transpose sparse and dense dimensions of a sparse tensor"
        )
    order[one], order[other] = order[other], order[one]
    return _permute(self, *order)


@handles("t")
def _t(self: CooTensor) -> CooTensor:
    if self.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {self.ndim}D")
    return self if self.ndim < 2 else _transpose(self, 0, 1)


_FLIPPED = {
    sparse_csr: sparse_csc,
    sparse_csc: sparse_csr,
    sparse_bsr: sparse_bsc,
    sparse_bsc: sparse_bsr,
}


def _transposed(self: CompressedTensor, dim0: int = 0, dim1: int = 1) -> CompressedTensor:
    """The same parts read by columns instead of rows, or the other way round."""
    pair = set(wrapped_dims((dim0, dim1), self.ndim))
    rows = self._batch_dim()
    if pair != {rows, rows + 1}:
        raise RuntimeError("transpose(): only rows and columns of compressed tensors can change")
    shape = list(size_of(self))
    shape[rows], shape[rows + 1] = shape[rows + 1], shape[rows]
    at = rows + 1
    inner = self._inner.transpose(at, at + 1) if self._kind in BY_BLOCKS else self._inner
    return compressed(_FLIPPED[self._kind], self._pointers, self._places, inner, shape)


csr.HANDLERS["transpose"] = csr.HANDLERS["t"] = _transposed


# Parts ------------------------------------------------------------------------------------------


def _kept(
    self: CooTensor, keep: np.ndarray[Any, Any], places: Any, shape: Sequence[int]
) -> CooTensor:
    """The entries numbered `keep`. places: their indices on the host, [d, n]"""
    where = device_of_tensor(self)
    index = from_host(keep.astype(np.int64), device=where)
    made = from_host(np.ascontiguousarray(places), device=where)
    return coo(made, self._inner.index_select(0, index), shape, False)


@handles("select")
def _select(self: CooTensor, dim: int, index: int) -> Any:
    dim = wrap_dim(dim, self.ndim)
    shape = list(size_of(self))
    extent = shape.pop(dim)
    if not -extent <= index < extent:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(size_of(self))} at "
            f"dimension {dim}"
        )
    index %= extent
    count = self.sparse_dim()
    if dim >= count:
        return coo(self._places, self._inner.select(dim - count + 1, index), shape, self._unique)
    indices = np.asarray(to_host(self._places))
    keep = np.nonzero(indices[dim] == index)[0]
    made = _kept(self, keep, np.delete(indices[:, keep], dim, 0), shape)
    if count == 1:
        return made._inner.sum(0)
    made._unique = self._unique or len(keep) < 2
    return made


@handles("unbind")
def _unbind(self: CooTensor, dim: int = 0) -> tuple[Any, ...]:
    return tuple(_select(self, dim, i) for i in range(size_of(self)[wrap_dim(dim, self.ndim)]))


@handles("index_select")
def _index_select(self: CooTensor, dim: int, index: Tensor) -> CooTensor:
    dim, count = wrap_dim(dim, self.ndim), self.sparse_dim()
    shape = list(size_of(self))
    wanted = np.asarray(to_host(index))
    if wanted.size and (wanted.min() < -shape[dim] or wanted.max() >= shape[dim]):
        raise IndexError("index_select(): index contains values that are out of range")
    wanted = wanted % max(shape[dim], 1)
    shape[dim] = len(wanted)
    whole = self.coalesce()
    if dim >= count:
        return coo(whole._places, whole._inner.index_select(dim - count + 1, index), shape, True)
    indices = np.asarray(to_host(whole._places))
    place, keep = np.nonzero(wanted[:, None] == indices[dim][None])
    places = indices[:, keep].copy()
    places[dim] = place
    order = np.argsort(linear(places, shape), kind="stable")
    made = _kept(whole, keep[order], places[:, order], shape)
    made._unique = self._unique or made._unique
    return made


@handles("narrow_copy")
def _narrow_copy(self: CooTensor, dim: int, start: int, length: int) -> CooTensor:
    dim, count = wrap_dim(dim, self.ndim), self.sparse_dim()
    shape = list(size_of(self))
    start = start % max(shape[dim], 1) if start < 0 else start
    if not 0 <= start <= start + length <= shape[dim]:
        raise RuntimeError(
            f"start ({start}) + length ({length}) exceeds dimension size ({shape[dim]})."
        )
    shape[dim] = length
    if dim >= count:
        inner = self._inner.narrow(dim - count + 1, start, length)
        return coo(self._places, inner, shape, self._unique)
    indices = np.asarray(to_host(self._places))
    keep = np.nonzero((indices[dim] >= start) & (indices[dim] < start + length))[0]
    places = indices[:, keep].copy()
    places[dim] -= start
    return _kept(self, keep, places, shape)._coalesced_(self._unique)


def _refused(name: str, why: str) -> None:
    def refuse(self: CooTensor, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(why)

    handles(name)(refuse)


_refused("reshape", "reshape is not implemented for sparse tensors")
_refused("flatten", "reshape is not implemented for sparse tensors")
_refused("expand", "expand is unsupported for Sparse tensors")


@handles("unsqueeze")
def _unsqueeze(self: CooTensor, dim: int) -> CooTensor:
    dim, count = wrap_dim(dim, self.ndim + 1), self.sparse_dim()
    shape = list(size_of(self))
    shape.insert(dim, 1)
    if dim > count:
        return coo(self._places, self._inner.unsqueeze(dim - count + 1), shape, self._unique)
    row = full((1, self._nnz()), 0, dtype=self._places.dtype, device=self._places.device)
    places = cat([self._places[:dim], row, self._places[dim:]], 0)
    return coo(places, self._inner, shape, self._unique)


@handles("squeeze")
def _squeeze(self: CooTensor, dim: Any = None) -> CooTensor:
    count, shape = self.sparse_dim(), size_of(self)
    given = range(self.ndim) if dim is None else wrapped_dims(dim, self.ndim)
    gone = [d for d in given if shape[d] == 1]
    rows = from_host(np.array([d for d in range(count) if d not in gone], np.int64))
    inner = self._inner
    for d in sorted((d for d in gone if d >= count), reverse=True):
        inner = inner.squeeze(d - count + 1)
    left = [n for d, n in enumerate(shape) if d not in gone]
    return coo(self._places.index_select(0, rows), inner, left, self._unique)


# Joins ------------------------------------------------------------------------------------------


@handles("cat", "concat", "concatenate")
def _cat(tensors: Sequence[Any], dim: int = 0) -> CooTensor:
    if not all(isinstance(t, CooTensor) for t in tensors):
        raise RuntimeError("Concatenating sparse tensors, but a dense tensor was found.")
    first = tensors[0]
    dim, count = wrap_dim(dim, first.ndim), first.sparse_dim()
    shape = list(size_of(first))
    shape[dim] = sum(size_of(t)[dim] for t in tensors)
    if dim >= count:
        raise NotImplementedError("cat of sparse tensors along a dense dimension")
    parts, start = [], 0
    for t in tensors:
        if size_of(t)[:dim] + size_of(t)[dim + 1 :] != tuple(shape[:dim] + shape[dim + 1 :]):
            raise RuntimeError("All tensors must have the same shape except in the cat dimension")
        rows = list(t._places.unbind(0))
        rows[dim] = rows[dim] + start
        parts.append(rows)
        start += size_of(t)[dim]
    places = [cat([rows[d] for rows in parts], 0).unsqueeze(0) for d in range(count)]
    return coo(cat(places, 0), cat([t._inner for t in tensors], 0), shape)


@handles("stack")
def _stack(tensors: Sequence[Any], dim: int = 0) -> CooTensor:
    return _cat([_unsqueeze(t, dim) for t in tensors], wrap_dim(dim, tensors[0].ndim + 1))


# Reductions -------------------------------------------------------------------------------------


@for_both("sum")
def reduced(self: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum of all values, strided; or over some dimensions, sparse unless none is left."""
    inner = self._inner if dtype is None else convert(self._inner, dtype, None)
    dims = () if dim is None else wrapped_dims(dim, self.ndim)
    if not dims:
        return inner.sum()
    if isinstance(self, CompressedTensor):
        return from_coo(reduced(as_coo(self._with(inner)), dims, keepdim), self._kind)
    count, shape = self.sparse_dim(), size_of(self)
    dense = [d - count + 1 for d in dims if d >= count]
    if dense:
        inner = inner.sum(dense, keepdim)
    left = [n for d, n in enumerate(shape) if d not in dims]
    kept = [d for d in range(count) if d not in dims]
    if not kept:
        total = inner.sum(0)
        return total.reshape(*[1] * count, *size_of(total)) if keepdim else total
    places = self._places.index_select(0, from_host(np.array(kept, np.int64)))
    if keepdim:
        left = [1 if d in dims else n for d, n in enumerate(shape)]
        gone = from_host(np.array([d not in dims for d in range(count)], np.int64))
        places = self._places * gone.unsqueeze(1)
    return coo(places, inner, left).coalesce()


@for_both("norm")
def _norm(
    self: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Any:
    if dim is not None:
        raise NotImplementedError("norm of a sparse tensor over some dimensions")
    whole = self.coalesce() if isinstance(self, CooTensor) else self
    return whole._inner.reshape(-1).norm(2 if p == "fro" else p, dtype=dtype)


@for_both("any")
def _any(self: Any) -> Tensor:
    return self.sum() != 0 if self.dtype.is_complex else self._inner.any()


def softmax_of(self: Any, dim: int, dtype: Any, log: bool) -> CooTensor:
    """softmax among the specified entries along a dimension; the others count as minus infinity."""
    if not isinstance(self, CooTensor):
        raise NotImplementedError(
            f"Could not run 'aten::_sparse_{'log_' if log else ''}softmax': it takes COO tensors, "
            f"got layout {self.layout!r}"
        )
    dim = wrap_dim(dim, self.ndim)
    whole = self.coalesce()
    inner = whole._inner if dtype is None else convert(whole._inner, dtype, None)
    count = self.sparse_dim()
    if dim >= count:
        function = inner.log_softmax if log else inner.softmax
        return whole._with(function(dim - count + 1))
    indices = np.asarray(to_host(whole._places))
    others = [d for d in range(count) if d != dim]
    flat = linear(indices[others], [size_of(self)[d] for d in others])
    groups, segment = np.unique(flat, return_inverse=True)
    segments = from_host(segment.reshape(-1).astype(np.int64), device=device_of_tensor(self))
    return whole._with(segment_softmax(inner, segments, len(groups), log))


def mask_of(mask: Any) -> Any:
    """The places of a mask; raises unless it is sparse."""
    if not isinstance(mask, Composed):
        raise NotImplementedError(
            "Could not run 'aten::sparse_mask' with arguments from the 'CPU' backend: the mask "
            "must be sparse"
        )
    return mask
