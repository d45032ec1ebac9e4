"""The compressed layouts: CSR, CSC, and the same by blocks (BSR, BSC).

_pointers: [*batch, n + 1], where each row (CSR, BSR) or column (CSC, BSC) begins; _places:
[*batch, nnz], the column (row) of each entry; _inner: [*batch, nnz, *block, *dense].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.layouts import Layout, sparse_bsc, sparse_bsr, sparse_csr
from funtorch.ops.creation import full
from funtorch.ops.joining import stack
from funtorch.ops.ranges import arange
from funtorch.sparse.coo import CooTensor, coo
from funtorch.sparse.kernels import picked, pointers_of, rows_of
from funtorch.sparse.text import text_of_parts
from funtorch.tensor import Tensor, alias, device_of_tensor, from_host, size_of

HANDLERS: dict[str, Callable[..., Any]] = {}
"""What functions do with compressed tensors, by name."""

BY_ROWS = (sparse_csr, sparse_bsr)
BY_BLOCKS = (sparse_bsr, sparse_bsc)


class CompressedTensor(Composed, watched=False):
    """A tensor of layout CSR, CSC, BSR or BSC; see the module's docstring."""

    handlers = HANDLERS
    _pointers: Tensor
    _places: Tensor

    def _with(self, inner: Tensor) -> CompressedTensor:
        return compressed(self._kind, self._pointers, self._places, inner, size_of(self))

    def _elements_of(self, grad: Any) -> Tensor:
        masked: Tensor = HANDLERS["sparse_mask"](grad, self)._inner
        return masked

    @property
    def is_sparse_csr(self) -> bool:  # type: ignore[override]
        """Of the layout sparse_csr?"""
        return self._kind is sparse_csr

    def sparse_dim(self) -> int:
        """Always two: rows and columns."""
        return 2

    def dense_dim(self) -> int:
        """Number of dimensions of each value (or of those after the block)."""
        return len(size_of(self._inner)) - self._batch_dim() - 1 - 2 * (self._kind in BY_BLOCKS)

    def _batch_dim(self) -> int:
        return len(size_of(self._pointers)) - 1

    def _nnz(self) -> int:
        return size_of(self._places)[-1]

    def values(self) -> Tensor:
        """[*batch, nnz, *block, *dense], differentiable."""
        return self._inner if self._inner._node is not None else self._inner.view_as(self._inner)

    def crow_indices(self) -> Tensor:
        """Where each row begins: [*batch, rows + 1]."""
        return self._part(self._pointers, "crow_indices", True)

    def col_indices(self) -> Tensor:
        """The column of each entry: [*batch, nnz]."""
        return self._part(self._places, "col_indices", True)

    def ccol_indices(self) -> Tensor:
        """Where each column begins: [*batch, columns + 1]."""
        return self._part(self._pointers, "ccol_indices", False)

    def row_indices(self) -> Tensor:
        """The row of each entry: [*batch, nnz]."""
        return self._part(self._places, "row_indices", False)

    def _part(self, part: Tensor, name: str, by_rows: bool) -> Tensor:
        if (self._kind in BY_ROWS) != by_rows:
            raise RuntimeError(
                f"{name} expected sparse {'row' if by_rows else 'column'} compressed tensor layout "
                f"but got {self._kind.title}"
            )
        return alias(part)

    def stride(self, dim: int | None = None) -> Any:
        """Raises RuntimeError: there are none."""
        raise RuntimeError("Sparse CSR tensors do not have strides")

    def __getitem__(self, key: Any) -> Any:
        return as_coo(self)[key]

    def _parts(self) -> dict[str, Tensor]:
        names = ("crow_indices", "col_indices")
        if self._kind not in BY_ROWS:
            names = ("ccol_indices", "row_indices")
        parts = (self._pointers, self._places, self._inner)
        return dict(zip((*names, "values"), parts, strict=True))

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return text_of_parts(self, self._parts())

    def __reduce_ex__(self, protocol: Any) -> Any:
        given = (self._kind, self._pointers, self._places, self._inner.detach(), size_of(self))
        return _rebuild, (*given, self.requires_grad and self.is_leaf)


def _rebuild(
    kind: Layout, pointers: Tensor, places: Tensor, inner: Tensor, shape: Any, grad: bool
) -> Any:
    return compressed(kind, pointers, places, inner.requires_grad_(grad), tuple(shape))


def compressed(
    kind: Layout, pointers: Tensor, places: Tensor, inner: Tensor, shape: Sequence[int]
) -> CompressedTensor:
    """A tensor from its parts."""
    made: CompressedTensor = CompressedTensor._made(inner, tuple(shape))
    made._kind = kind
    made._pointers = pointers
    made._places = places
    return made


def coordinates(tensor: CompressedTensor) -> Tensor:
    """Row (of blocks) and column of each entry, after its place in the batch. [*batch] -> [d, n]"""
    first = rows_of(tensor._pointers, tensor._nnz())
    both = (first, tensor._places.long())
    rows, columns = both if tensor._kind in BY_ROWS else both[::-1]
    shape = size_of(tensor._places)
    where = device_of_tensor(tensor)
    batch = np.indices(shape)[:-1].reshape(len(shape) - 1, math.prod(shape))
    parts = [from_host(index, device=where) for index in batch]
    return stack([*parts, rows.reshape(-1), columns.reshape(-1)], 0)


def as_coo(tensor: CompressedTensor) -> CooTensor:
    """The same entries by coordinates; blocks are taken apart."""
    places = coordinates(tensor)
    inner = tensor._inner.flatten(0, tensor._batch_dim())
    if tensor._kind in BY_BLOCKS:
        places, inner = _apart(places, inner)
    unique = tensor._kind is sparse_csr
    made = coo(places, inner, size_of(tensor), unique)
    return made if unique else made.coalesce()


def _apart(places: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
    """Every element of blocks. places: [d, n], inner: [n, b, c, *dense] -> [d, n*b*c], [n*b*c, ...]"""
    count, height, width = size_of(inner)[:3]
    where = device_of_tensor(inner)
    row, column = (from_host(i.reshape(1, -1), device=where) for i in np.indices((height, width)))
    *batch, rows, columns = places.unbind(0)
    spread = [index.unsqueeze(1).expand(count, height * width) for index in batch]
    spread += [rows.unsqueeze(1) * height + row, columns.unsqueeze(1) * width + column]
    return stack([s.reshape(-1) for s in spread], 0), inner.flatten(0, 2)


def from_coo(tensor: CooTensor, kind: Layout, blocksize: Any = None) -> CompressedTensor:
    """A coordinate matrix in a compressed layout. Batches and blocks go by way of dense."""
    if tensor.sparse_dim() != 2:
        raise RuntimeError(
            f"to_sparse: conversion from Sparse to {kind.title} for input tensors with "
            f"sparse_dim()!=2 is not supported"
        )
    tensor = tensor.coalesce()
    if kind in BY_BLOCKS:
        return from_dense(tensor.to_dense(), kind, blocksize)
    rows, columns = tensor._places.unbind(0)
    if kind is sparse_csr:
        pointers = pointers_of(rows, size_of(tensor)[0])
        return compressed(kind, pointers, columns, tensor._inner, size_of(tensor))
    order = columns.argsort(stable=True)
    pointers = pointers_of(columns[order], size_of(tensor)[1])
    return compressed(kind, pointers, rows[order], tensor._inner[order], size_of(tensor))


def from_dense(dense: Tensor, kind: Layout, blocksize: Any = None, dense_dim: int = 0) -> Any:
    """A strided tensor [*batch, rows, columns, *dense] in a compressed layout. Reads it.

    Raises RuntimeError if the matrices of a batch differ in their number of entries.
    """
    shape = size_of(dense)
    batch = shape[: len(shape) - 2 - dense_dim]
    at = len(batch)
    if len(shape) - dense_dim < 2:
        raise IndexError(
            f"select(): index 1 out of range for tensor of size {[*shape, 1]} at dimension {at + 1}"
        )
    blocks = dense
    if kind in BY_BLOCKS:
        blocks = _blocks(kind, dense, at, tuple(blocksize))
    count = len(size_of(blocks)) - at - 2
    mask = np.asarray(to_host(blocks)) != 0
    mask = mask.any(tuple(range(at + 2, at + 2 + count))) if count else mask
    order = mask if kind in BY_ROWS else mask.swapaxes(-1, -2)
    found = [np.nonzero(m) for m in order.reshape(-1, *order.shape[at:])]
    if len({len(rows) for rows, _ in found}) > 1:
        raise RuntimeError("Expect the same number of specified elements per batch.")
    nnz = len(found[0][0]) if found else 0
    starts = [np.searchsorted(rows, np.arange(order.shape[at] + 1)) for rows, _ in found]
    pointers = np.array(starts, np.int64).reshape(*batch, order.shape[at] + 1)
    places = np.array([c for _, c in found], np.int64).reshape(*batch, nnz)
    where = device_of_tensor(dense)
    made = compressed(
        kind, from_host(pointers, device=where), from_host(places, device=where), dense, shape
    )
    inner = picked(blocks, coordinates(made))
    return made._with(inner.unflatten(0, (*batch, nnz)) if batch else inner)


def _blocks(kind: Layout, dense: Tensor, at: int, size: tuple[int, ...]) -> Tensor:
    """[*batch, rows, columns, *dense] -> [*batch, rows/h, columns/w, h, w, *dense]"""
    shape = size_of(dense)
    rows, columns = shape[at], shape[at + 1]
    height, width = size
    if rows % height or columns % width:
        raise RuntimeError(
            f"dense_to_sparse_{kind.name[-3:]}: tensor sparse size ({rows},{columns}) must be "
            f"divisible by given blocksize ({height},{width})"
        )
    split = dense.reshape(
        *shape[:at], rows // height, height, columns // width, width, *shape[at + 2 :]
    )
    return split.transpose(at + 1, at + 2)


def empty_of(kind: Layout, shape: Sequence[int], inner: Tensor) -> CompressedTensor:
    """No entries. inner: [0]"""
    extent = shape[-2] if kind in BY_ROWS else shape[-1]
    where = device_of_tensor(inner)
    pointers = full((*shape[:-2], extent + 1), 0, dtype=dtypes.int64, device=where)
    return compressed(kind, pointers, arange(0, device=where), inner, shape)
