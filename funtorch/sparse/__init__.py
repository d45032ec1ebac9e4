"""`torch.sparse`: functions of tensors in sparse layouts.

A sparse tensor is made of strided ones: indices, and values that carry autograd. What a function
does with it is a composition of strided ops, so gradients and compilation follow. What depends on
where the entries lie (`coalesce`, `to_sparse`, products of two sparse matrices) reads the indices on
the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.layouts import Layout, sparse_coo, sparse_csr
from funtorch.ops import aten as _aten
from funtorch.ops import creation as _creation
from funtorch.ops._declare import TABLE, composite
from funtorch.sparse import embedding as _embedding
from funtorch.sparse import strided as _strided
from funtorch.sparse.compressed import CompressedTensor, coordinates, from_coo
from funtorch.sparse.coo import CooTensor, coo
from funtorch.sparse.invariants import check_sparse_tensor_invariants
from funtorch.sparse.kernels import picked, sampled_product
from funtorch.sparse.legacy import sparse_types
from funtorch.sparse.making import without_entries
from funtorch.sparse.products import addmm as _addmm
from funtorch.sparse.products import hspmm as _hspmm
from funtorch.sparse.products import mm as _mm
from funtorch.sparse.products import reduced_mm
from funtorch.sparse.products import smm as _smm
from funtorch.sparse.products import sspaddmm as _sspaddmm
from funtorch.sparse.structure import reduced, softmax_of
from funtorch.tensor import Tensor, device_of_tensor, from_host, size_of

__all__ = [
    "addmm",
    "check_sparse_tensor_invariants",
    "log_softmax",
    "mm",
    "sampled_addmm",
    "softmax",
    "spdiags",
    "sum",
]

_creation.other_layout.append(without_entries)


def mm(sparse: Any, dense: Any, reduce: str | None = None) -> Any:
    """[m, k] @ [k, n], differentiable in both; reduce: "sum", "mean", "amax", "amin" of a row's terms."""
    if reduce is not None:
        return reduced_mm(sparse, dense, reduce)
    if not isinstance(sparse, Composed) and not isinstance(dense, Composed):
        return TABLE["mm"].facade(sparse, dense)
    return _mm(sparse, dense)


def addmm(mat: Any, mat1: Any, mat2: Any, beta: Any = 1.0, alpha: Any = 1.0) -> Any:
    """beta * mat + alpha * mat1 @ mat2"""
    return _addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sum(input: Any, dim: Any = None, dtype: Any = None) -> Any:  # noqa: A001
    """The sum of all entries (strided), or over some dimensions (sparse while one is left)."""
    if not isinstance(input, Composed):
        return input.coalesce()
    return reduced(input, dim, dtype=dtype)


def softmax(input: Any, dim: int, *, dtype: Any = None) -> CooTensor:
    """softmax among the specified entries along a dimension, of a COO tensor."""
    return softmax_of(input, dim, dtype, log=False)


def log_softmax(input: Any, dim: int, *, dtype: Any = None) -> CooTensor:
    """The logarithm of `softmax`."""
    return softmax_of(input, dim, dtype, log=True)


def sampled_addmm(
    input: Any, mat1: Tensor, mat2: Tensor, *, beta: Any = 1.0, alpha: Any = 1.0, out: Any = None
) -> CompressedTensor:
    """beta * input + alpha * mat1 @ mat2 at the places of a CSR tensor [*batch, m, n] only."""
    for given in (input,) if out is None else (input, out):
        if given.layout is not sparse_csr:
            raise RuntimeError(
                f"sampled_addmm: Expected result to have sparse csr layout, but got {given.layout!r}"
            )
    places = coordinates(input)
    shape = size_of(input._inner)
    product = sampled_product(mat1, mat2, places).reshape(shape) * alpha
    made = input._with(product if beta == 0 else input._inner * beta + product)
    if out is None:
        return made
    if out.dtype is not made.dtype:
        raise RuntimeError(
            "sampled_addmm: Expected result and self to have the same dtype, but got result.dtype "
            f"= {out.dtype} and self.dtype = {made.dtype}"
        )
    return out._become(made)


def spdiags(
    diagonals: Tensor, offsets: Tensor, shape: tuple[int, int], layout: Layout | None = None
) -> Any:
    """A sparse matrix with these rows as diagonals. diagonals: [k, n], offsets: [k] -> [*shape]

    Entry (i, j) of the diagonal with offset o = j - i is diagonals[:, j], as in SciPy.
    """
    rows = diagonals.unsqueeze(0) if diagonals.ndim == 1 else diagonals
    steps = np.asarray(to_host(offsets)).reshape(-1)
    if rows.ndim != 2:
        raise RuntimeError("Diagonals must be vector or matrix")
    if len(shape) != 2:
        raise RuntimeError("Output shape must be 2d")
    if len(steps) != size_of(rows)[0]:
        raise RuntimeError(
            f"Number of diagonals ({size_of(rows)[0]}) does not match the number of offsets "
            f"({len(steps)})"
        )
    if len(np.unique(steps)) != len(steps):
        raise RuntimeError("Offset tensor contains duplicate values")
    k, j = (x.reshape(-1) for x in np.indices(size_of(rows)))
    i = j - steps[k]
    inside = (i >= 0) & (i < shape[0]) & (j < shape[1])
    where = device_of_tensor(rows)
    places, taken = (
        from_host(np.stack(parts)[:, inside].astype(np.int64), device=where)
        for parts in ((i, j), (k, j))
    )
    made = coo(places, picked(rows, taken), tuple(shape))
    return made if layout in (None, sparse_coo) else from_coo(made, layout)


composite("method", name="smm")(_smm)
composite(name="hspmm")(_hspmm)
composite("method", name="sspaddmm")(_sspaddmm)
_strided.bind()
_aten.OTHERS.update(_sparse_addmm=addmm, _sparse_mm_reduce_impl=mm)
globals().update(sparse_types())
