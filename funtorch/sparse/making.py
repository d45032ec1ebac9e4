"""Sparse tensors from their parts, and conversions between layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.dispatch import to_host
from funtorch.layouts import (
    COMPRESSED,
    Layout,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
)
from funtorch.ops._declare import composite
from funtorch.ops.creation import shape_from, zeros
from funtorch.ops.from_data import as_tensor
from funtorch.ops.memory import convert
from funtorch.sparse import compressed as csr
from funtorch.sparse.compressed import (
    BY_BLOCKS,
    BY_ROWS,
    CompressedTensor,
    as_coo,
    compressed,
    coordinates,
    empty_of,
    from_coo,
    from_dense,
)
from funtorch.sparse.coo import CooTensor, coo, dense_of, handles
from funtorch.sparse.invariants import check_compressed, check_coo, invariants
from funtorch.sparse.kernels import picked
from funtorch.sparse.pointwise import for_both
from funtorch.sparse.structure import mask_of
from funtorch.tensor import Tensor, alias, device_of_tensor, from_host, size_of

# From parts -------------------------------------------------------------------------------------


def _values_of(values: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    made: Tensor = as_tensor(values, dtype=dtype, device=device)
    if requires_grad:
        made = alias(made)
        made.requires_grad_()
    return made


def _indices_of(indices: Any, like: Tensor) -> Tensor:
    return convert(as_tensor(indices).detach(), dtypes.int64, device_of_tensor(like))


@composite()
def sparse_coo_tensor(
    indices: Any,
    values: Any = None,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> CooTensor:
    """A tensor of layout COO. indices: [d, n], values: [n, *dense]; size None: as small as may be.

    With one argument, a size, it has no entries. Raises RuntimeError if the parts do not fit.
    """
    if values is None:
        shape = shape_from((indices,))
        places = zeros(len(shape), 0, dtype=dtypes.int64, device=device)
        inner = zeros(0, dtype=dtype, device=device, requires_grad=requires_grad)
        return coo(places, inner, shape, True)
    inner = _values_of(values, dtype, device, requires_grad)
    places = _indices_of(indices, inner)
    if size is None:
        highest = np.asarray(to_host(places)).reshape(size_of(places))
        extents = highest.max(1) + 1 if highest.shape[1] else np.zeros(highest.shape[0], int)
        size = (*[int(n) for n in extents], *size_of(inner)[1:])
    shape = tuple(size)
    if invariants(check_invariants):
        check_coo(places, inner, shape, bool(is_coalesced))
    _fit(places, inner, shape)
    return coo(places, inner, shape, bool(is_coalesced))


def _fit(places: Tensor, inner: Tensor, shape: tuple[int, ...]) -> None:
    if places.ndim != 2:
        count = size_of(places)[0] if places.ndim else 0
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(shape)}, "
            f"sparse_dim = {count}, dense_dim = {inner.ndim - 1}"
        )
    sparse, nnz = size_of(places)
    if len(shape) != sparse + inner.ndim - 1:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(shape)}, "
            f"sparse_dim = {sparse}, dense_dim = {inner.ndim - 1}"
        )
    if size_of(inner)[0] != nnz:
        raise RuntimeError(
            "indices and values must have same nnz, but got nnz from indices: "
            f"{nnz}, nnz from values: {size_of(inner)[0]}"
        )
    if size_of(inner)[1:] != shape[sparse:]:
        raise RuntimeError(
            f"values has incorrect size, expected {[nnz, *shape[sparse:]]}, got "
            f"{list(size_of(inner))}"
        )


@composite()
def sparse_compressed_tensor(
    compressed_indices: Any,
    plain_indices: Any,
    values: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    layout: Layout | None = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> CompressedTensor:
    """A tensor of layout CSR, CSC, BSR or BSC from its parts."""
    if layout not in COMPRESSED:
        raise RuntimeError(
            "sparse_compressed_tensor: layout must be one of sparse_csr, sparse_csc, sparse_bsr, "
            f"sparse_bsc, got {layout!r}"
        )
    inner = _values_of(values, dtype, device, requires_grad)
    where = device_of_tensor(inner)
    pointers, places = (
        convert(as_tensor(part).detach(), None, where)
        for part in (compressed_indices, plain_indices)
    )
    shape = _inferred(layout, pointers, places, inner) if size is None else tuple(size)
    if invariants(check_invariants):
        check_compressed(layout, pointers, places, inner, shape)
    return compressed(layout, pointers, places, inner, shape)


def _inferred(kind: Layout, pointers: Tensor, places: Tensor, inner: Tensor) -> tuple[int, ...]:
    batch = size_of(pointers)[:-1]
    extents = [size_of(pointers)[-1] - 1, int(places.max()) + 1 if places.numel() else 0]
    if kind not in BY_ROWS:
        extents.reverse()
    rest = size_of(inner)[len(batch) + 1 :]
    if kind in BY_BLOCKS:
        extents = [extents[0] * rest[0], extents[1] * rest[1]]
        rest = rest[2:]
    return (*batch, *extents, *rest)


def _maker(kind: Layout, pointers: str, places: str) -> Callable[..., Any]:
    def make(*args: Any, **how: Any) -> CompressedTensor:
        parts = list(args)
        for name in (pointers, places, "values", "size")[len(parts) :]:
            parts.append(how.pop(name, None))
        return sparse_compressed_tensor(*parts, layout=kind, **how)

    make.__name__ = f"{kind.name}_tensor"
    make.__doc__ = (
        f"A tensor of layout {kind.name} from {pointers}, {places}, values and its size; takes "
        "dtype, device, requires_grad and check_invariants."
    )
    return composite()(make)


sparse_csr_tensor = _maker(sparse_csr, "crow_indices", "col_indices")
sparse_csc_tensor = _maker(sparse_csc, "ccol_indices", "row_indices")
sparse_bsr_tensor = _maker(sparse_bsr, "crow_indices", "col_indices")
sparse_bsc_tensor = _maker(sparse_bsc, "ccol_indices", "row_indices")


# Between layouts --------------------------------------------------------------------------------


@composite("method", function=False)
def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    """The strided tensor with the same elements."""
    return convert(self, dtype, None)


@for_both("to_dense")
def _to_dense(self: Any, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    entries = self if isinstance(self, CooTensor) else _scattered(self)
    return convert(dense_of(entries), dtype, None)


def _scattered(self: CompressedTensor) -> CooTensor:
    if self._kind in BY_BLOCKS:
        return as_coo(self)
    inner = self._inner.flatten(0, self._batch_dim())
    return coo(coordinates(self), inner, size_of(self))


@composite("method", function=False)
def to_sparse(
    self: Tensor,
    sparse_dim: int | None = None,
    *,
    layout: Layout | None = None,
    blocksize: Any = None,
    dense_dim: int | None = None,
) -> Any:
    """The elements other than zero in a sparse layout, COO by default. Reads the tensor."""
    kind = sparse_coo if layout is None else layout
    if kind is strided:
        return self
    if kind in BY_BLOCKS and blocksize is None:
        raise RuntimeError(
            f"dense_to_sparse: conversion from Strided to {kind.title} without blocksize argument "
            "given is not supported"
        )
    if kind is not sparse_coo:
        return from_dense(self, kind, blocksize, dense_dim or 0)
    count = self.ndim - (dense_dim or 0) if sparse_dim is None else sparse_dim
    if not 0 <= count <= self.ndim or (count == 0 and self.ndim):
        raise RuntimeError(
            f"dense_to_sparse: sparse_dim argument must be in [{int(self.ndim > 0)},{self.ndim}] "
            f"range, but {count} is given"
        )
    mask = np.asarray(to_host(self)) != 0
    mask = mask.any(tuple(range(count, self.ndim))) if count < self.ndim else mask
    found = np.stack(np.nonzero(mask)) if count else np.zeros((0, int(mask)), np.int64)
    places = from_host(found.astype(np.int64), device=device_of_tensor(self))
    return coo(places, picked(self, places), size_of(self), unique=True)


@handles("to_sparse")
def _coo_to(
    self: CooTensor, sparse_dim: int | None = None, *, layout: Any = None, blocksize: Any = None
) -> Any:
    if sparse_dim is not None and sparse_dim != self.sparse_dim():
        raise RuntimeError(
            "to_sparse: conversion from Sparse to Sparse with sparse_dim argument "
            "!=self.sparse_dim() is not supported"
        )
    if layout in (None, sparse_coo):
        return self
    return dense_of(self) if layout is strided else from_coo(self, layout, blocksize)


def _compressed_to(
    self: CompressedTensor,
    sparse_dim: int | None = None,
    *,
    layout: Any = None,
    blocksize: Any = None,
) -> Any:
    if layout is self._kind:
        return self
    if layout in (None, sparse_coo):
        return as_coo(self)
    return from_coo(as_coo(self), layout, blocksize)


csr.HANDLERS["to_sparse"] = _compressed_to


def _converter(kind: Layout) -> Callable[..., Any]:
    def convert_to(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kind in BY_BLOCKS and args:
            kwargs["blocksize"], args = args[0], args[1:]
        if args:
            kwargs["dense_dim"] = args[0]
        return self.to_sparse(layout=kind, **kwargs)

    convert_to.__name__ = f"to_{kind.name}"
    convert_to.__doc__ = f"`self.to_sparse(layout={kind!r})`."
    for_both(convert_to.__name__)(convert_to)
    return composite("method", function=False)(convert_to)


for _kind in COMPRESSED:
    _converter(_kind)


@composite("method", function=False)
def sparse_mask(self: Tensor, mask: Any) -> Any:
    """The elements at the places of a sparse tensor, in its layout."""
    return mask_of(mask)


@for_both("sparse_mask")
def _sparse_mask(self: Any, mask: Any) -> Any:
    if size_of(self) != size_of(mask):
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size "
            f"{list(size_of(self))} but mask has size {list(size_of(mask))}"
        )
    mask = mask_of(mask)
    dense = self.to_dense()
    if isinstance(mask, CooTensor):
        return mask._with(picked(dense, mask._places))
    return mask._with(picked(dense, coordinates(mask)).reshape(size_of(mask._inner)))


@handles("new_zeros", "new_empty")
def _new_zeros(
    self: CooTensor, *size: Any, dtype: Any = None, device: Any = None, **how: Any
) -> Any:
    where = device_of_tensor(self) if device is None else device
    how.pop("layout", None)
    how.pop("pin_memory", None)
    return sparse_coo_tensor(shape_from(size), dtype=dtype or self.dtype, device=where, **how)


@for_both("new_tensor")
def _new_tensor(self: Any, data: Any, **how: Any) -> Tensor:
    return self._inner.new_tensor(data, **how)


def without_entries(shape: Any, dtype: Any, device: Any, kind: Layout, requires_grad: bool) -> Any:
    """What `zeros(..., layout=kind)` is."""
    inner = zeros(0, dtype=dtype, device=device)
    if kind is sparse_coo:
        return sparse_coo_tensor(shape, dtype=dtype, device=device, requires_grad=requires_grad)
    if kind not in COMPRESSED or len(shape) < 2 or kind in BY_BLOCKS:
        raise RuntimeError(f"zeros of size {list(shape)} cannot have layout {kind!r}")
    return empty_of(kind, shape, inner).requires_grad_(requires_grad)
