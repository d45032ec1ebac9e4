"""Products of sparse matrices with dense ones and with one another."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.ops.joining import stack
from funtorch.sparse.compressed import BY_BLOCKS, CompressedTensor, as_coo, coordinates, from_coo
from funtorch.sparse.coo import CooTensor, coo, handles, joined
from funtorch.sparse.kernels import reduced_product, times_dense
from funtorch.sparse.pointwise import for_both
from funtorch.tensor import Tensor, device_of_tensor, from_host, size_of


def _entries(matrix: Any) -> tuple[Tensor, Tensor]:
    """(values [n], indices [2, n]) of a sparse matrix."""
    if isinstance(matrix, CompressedTensor):
        if matrix._kind in BY_BLOCKS:
            matrix = as_coo(matrix)
        else:
            return matrix._inner, coordinates(matrix)
    if matrix.sparse_dim() != 2:
        raise RuntimeError(
            f"mm: a matrix with two sparse dimensions is needed, got {matrix.sparse_dim()}"
        )
    return matrix._inner, matrix._places


def _check(one: Any, other: Any) -> None:
    if one.ndim != 2 or other.ndim != 2:
        raise RuntimeError(f"addmm: 2D tensors expected, got {one.ndim}D and {other.ndim}D tensors")
    if size_of(one)[1] != size_of(other)[0]:
        raise RuntimeError(
            f"addmm: Argument #3 (dense): Expected dim 0 size {size_of(one)[1]}, got "
            f"{size_of(other)[0]}"
        )
    if one.dtype is not other.dtype:
        raise RuntimeError(
            f"addmm: expected both matrices to have the same dtype, got {one.dtype} and "
            f"{other.dtype}"
        )


@for_both("mm")
@for_both("spmm")
def mm(self: Any, mat2: Any) -> Any:
    """[m, k] @ [k, n]: strided if one of them is, else in the layout of the first."""
    if not isinstance(self, Composed):
        return mm(mat2.t(), self.t()).t()
    _check(self, mat2)
    if isinstance(mat2, Composed):
        product = _sparse_product(self, mat2)
        return product if isinstance(self, CooTensor) else from_coo(product, self._kind)
    values, indices = _entries(self)
    return times_dense(values, indices, mat2, size_of(self)[0])


def _sparse_product(one: Any, other: Any) -> CooTensor:
    """The product of two sparse matrices, coalesced. Reads their indices.

    Every entry (i, k) of the first meets every entry (k, j) of the second.
    """
    left, right = (t.coalesce() if isinstance(t, CooTensor) else as_coo(t) for t in (one, other))
    i, k = np.asarray(to_host(left._places))
    row, column = np.asarray(to_host(right._places))
    starts, ends = np.searchsorted(row, k, "left"), np.searchsorted(row, k, "right")
    counts = ends - starts
    mine = np.repeat(np.arange(len(k)), counts)
    before = np.cumsum(counts) - counts
    yours = np.arange(counts.sum()) - np.repeat(before - starts, counts)
    where = device_of_tensor(left)
    at, by, places = (
        from_host(x.astype(np.int64), device=where)
        for x in (mine, yours, np.stack([i[mine], column[yours]]))
    )
    values = left._inner.index_select(0, at) * right._inner.index_select(0, by)
    return coo(places, values, (size_of(one)[0], size_of(other)[1])).coalesce()


@for_both("mv")
def mv(self: Any, vec: Tensor) -> Tensor:
    """[m, n] @ [n] -> [m]"""
    if self.ndim != 2 or vec.ndim != 1 or size_of(self)[1] != size_of(vec)[0]:
        raise RuntimeError("mv: expected self.size(-1) == vec.size(-1)")
    return mm(self, vec.unsqueeze(1)).squeeze(1)


@for_both("matmul")
def matmul(self: Any, other: Any) -> Any:
    """Vectors and matrices, and batches of matrices."""
    if self.ndim == 2 and other.ndim == 1:
        return mv(self, other) if isinstance(self, Composed) else mm(self, other.unsqueeze(1))
    if self.ndim == 1 and other.ndim == 2:
        return mm(self.unsqueeze(0), other).squeeze(0)
    if self.ndim == 3 and other.ndim == 3:
        return bmm(self, other)
    return mm(self, other)


@for_both("bmm")
def bmm(self: Any, mat2: Any) -> Tensor:
    """[b, m, k] @ [b, k, n] -> [b, m, n], strided"""
    if not isinstance(self, CooTensor) or self.ndim != 3 or mat2.ndim != 3:
        raise NotImplementedError("bmm: a COO tensor [b, m, k] times a strided one is needed")
    if size_of(self)[2] != size_of(mat2)[1] or size_of(self)[0] != size_of(mat2)[0]:
        raise RuntimeError("bmm_sparse: 'self.size(2)' and 'mat2.size(1)' must match")
    batch, m, k = size_of(self)
    b, i, j = self._places.unbind(0)
    flat = coo(stack([b * m + i, b * k + j], 0), self._inner, (batch * m, batch * k))
    return mm(flat, mat2.reshape(batch * k, -1)).reshape(batch, m, -1)


@for_both("addmm")
def addmm(self: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * self + alpha * mat1 @ mat2"""
    product = mm(mat1, mat2)
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    kept = self if beta == 1 else self * beta
    if isinstance(kept, Composed) and not isinstance(product, Composed):
        return product + kept
    return kept + product


@for_both("addmv")
def addmv(self: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * self + alpha * mat @ vec"""
    product = mv(mat, vec) * alpha
    return product if beta == 0 else self * beta + product


@for_both("linear")
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.t() + bias, the weight or the input sparse"""
    if isinstance(input, Composed):
        out = mm(input, weight.t())
    else:
        flat = input.reshape(-1, size_of(input)[-1])
        out = mm(flat, weight.t()).reshape(*size_of(input)[:-1], size_of(weight)[0])
    return out if bias is None else out + bias


def reduced_mm(sparse: Any, dense: Tensor, reduce: str) -> Tensor:
    """`mm` whose terms are reduced otherwise than by their sum; the matrix must be CSR."""
    if not isinstance(sparse, CompressedTensor):
        raise NotImplementedError(
            "Could not run 'aten::_sparse_mm_reduce_impl' with arguments from the 'SparseCPU' "
            "backend: the matrix must be CSR"
        )
    _check(sparse, dense)
    if reduce == "sum":
        return mm(sparse, dense)
    values, indices = _entries(sparse)
    return reduced_product(values, indices, dense, size_of(sparse)[0], reduce)


@handles("smm")
def smm(input: Any, mat: Tensor) -> CooTensor:
    """The product of a sparse and a dense matrix as a sparse one: the rows that have entries."""
    rows = hspmm(input, mat)
    count, width = rows._nnz(), size_of(mat)[1]
    where = device_of_tensor(rows)
    column = from_host(np.tile(np.arange(width), count), device=where)
    row = rows._places[0].unsqueeze(1).expand(count, width).reshape(-1)
    return coo(stack([row, column], 0), rows._inner.reshape(-1), size_of(rows))


@handles("hspmm")
def hspmm(mat1: Any, mat2: Tensor) -> CooTensor:
    """As `smm`, with rows as values: one sparse and one dense dimension. Reads the indices."""
    _check(mat1, mat2)
    whole = mat1.coalesce()
    row = np.asarray(to_host(whole._places))[0]
    kept, segment = np.unique(row, return_inverse=True)
    where = device_of_tensor(whole)
    numbers = from_host(segment.reshape(-1).astype(np.int64), device=where)
    packed = stack([numbers, whole._places[1]], 0)
    values = times_dense(whole._inner, packed, mat2, len(kept))
    places = from_host(kept[None].astype(np.int64), device=where)
    return coo(places, values, (size_of(mat1)[0], size_of(mat2)[1]))


@handles("sspaddmm")
def sspaddmm(input: Any, mat1: Any, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> CooTensor:
    """beta * input + alpha * mat1 @ mat2, all of it sparse"""
    return joined((input * beta, smm(mat1, mat2) * alpha), size_of(input))
