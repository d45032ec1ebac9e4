"""The coordinate layout: indices [sparse_dim, nnz], and for each of them one entry of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.layouts import sparse_coo
from funtorch.methods import METHODS
from funtorch.ops.joining import cat
from funtorch.ops.view_ops import wrap_dim
from funtorch.sparse.kernels import placed, segment_sum
from funtorch.sparse.text import text_of_parts
from funtorch.tensor import Tensor, alias, device_of_tensor, from_host, size_of

HANDLERS: dict[str, Callable[..., Any]] = {}
"""What functions do with COO tensors, by name."""


def handles(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into `HANDLERS`."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        HANDLERS.update(dict.fromkeys(names, function))
        return function

    return enter


class CooTensor(Composed, watched=False):
    """A tensor of layout `sparse_coo`.

    _places: [sparse_dim, nnz] of int64. _inner: [nnz, *dense]. _unique: coalesced, that is in order
    and without repetition.
    """

    _kind = sparse_coo
    handlers = HANDLERS
    _places: Tensor
    _unique: bool

    def _with(self, inner: Tensor) -> CooTensor:
        return coo(self._places, inner, _shape_with(self, inner), self._unique)

    def _parts(self) -> dict[str, Tensor]:
        whole = self.coalesce()
        return {"indices": whole._places, "values": whole._inner}

    def _gradient(self, inner: Tensor) -> CooTensor:
        """Entries of one place have one gradient, which counts once."""
        if self._unique:
            return self._with(inner)
        indices = np.asarray(to_host(self._places))
        _, first = np.unique(linear(indices, size_of(self)), return_index=True)
        where = device_of_tensor(inner)
        places = from_host(np.ascontiguousarray(indices[:, first]), device=where)
        chosen = from_host(first.astype(np.int64), device=where)
        return coo(places, inner.index_select(0, chosen), size_of(self), unique=True)

    def _elements_of(self, grad: Any) -> Tensor:
        masked: Tensor = HANDLERS["sparse_mask"](grad, self)._inner
        return masked

    @property
    def is_sparse(self) -> bool:  # type: ignore[override]
        """Always."""
        return True

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of the tensor's type ('torch.sparse.FloatTensor'), or the tensor in another."""
        if dtype is not None:
            return self.to(dtype)
        space, _, name = METHODS["type"](self).rpartition(".")
        return f"{space}.sparse.{name}"

    def item(self) -> Any:
        """The one element as a Python number. Waits for it."""
        if self._value.aval.size != 1:
            raise RuntimeError(
                f"a Tensor with {self._value.aval.size} elements cannot be converted to Scalar"
            )
        return dense_of(self).item()

    def __bool__(self) -> bool:
        count = self._value.aval.size
        if count != 1:
            raise RuntimeError(
                f"Boolean value of Tensor with {'more than one value' if count else 'no values'} "
                "is ambiguous"
            )
        return bool(self.item())

    @property
    def nbytes(self) -> int:
        """Raises RuntimeError, as in PyTorch: say which part is meant."""
        raise RuntimeError(
            "nbytes is not defined for sparse tensors. If you want the size of the constituent "
            "tensors, add the nbytes of the indices and values."
        )

    def sparse_dim(self) -> int:
        """Number of dimensions that the indices address."""
        return size_of(self._places)[0]

    def dense_dim(self) -> int:
        """Number of dimensions of each value."""
        return len(size_of(self._inner)) - 1

    def _nnz(self) -> int:
        return size_of(self._places)[1]

    def is_coalesced(self) -> bool:
        """Are the indices in order and without repetition?"""
        return self._unique

    def _coalesced_(self, coalesced: bool) -> CooTensor:
        self._unique = coalesced
        return self

    def indices(self) -> Tensor:
        """[sparse_dim, nnz]. Raises RuntimeError unless coalesced."""
        self._must_be_coalesced("indices")
        return alias(self._places)

    def values(self) -> Tensor:
        """[nnz, *dense], differentiable. Raises RuntimeError unless coalesced."""
        self._must_be_coalesced("values")
        return self._inner if self._inner._node is not None else self._inner.view_as(self._inner)

    def _must_be_coalesced(self, what: str) -> None:
        if not self._unique:
            raise RuntimeError(
                f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first"
            )

    def _indices(self) -> Tensor:
        return alias(self._places)

    def _values(self) -> Tensor:
        return alias(self._inner)

    def coalesce(self) -> CooTensor:
        """In order and without repetition; values of one place add up. Reads the indices."""
        return self if self._unique else merged(self._places, self._inner, size_of(self))

    def stride(self, dim: int | None = None) -> Any:
        """Zeros: there is no strided memory."""
        return (0,) * self.ndim if dim is None else 0

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        made: Any = self
        for k in keys:
            if not isinstance(k, int | np.integer) and not (isinstance(k, Tensor) and k.ndim == 0):
                raise self._unsupported("as_strided", (self,), {})
            made = made.select(0, int(k))
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return text_of_parts(self, {"indices": self._places, "values": self._inner})

    def sparse_resize_(self, size: Sequence[int], sparse_dim: int, dense_dim: int) -> CooTensor:
        """Another shape in place; the entries stay where they are."""
        if sparse_dim != self.sparse_dim() or dense_dim != self.dense_dim():
            raise RuntimeError(
                "changing the number of sparse dimensions or dense dimensions on a non-empty "
                "sparse tensor is not supported."
            )
        return self._become(coo(self._places, self._inner, tuple(size), self._unique))

    def sparse_resize_and_clear_(
        self, size: Sequence[int], sparse_dim: int, dense_dim: int
    ) -> CooTensor:
        """Another shape in place, and no entries."""
        dense = tuple(size)[sparse_dim:]
        inner = self._inner.detach().reshape(-1)[:0].reshape(0, *dense)
        places = self._places.reshape(-1)[:0].reshape(sparse_dim, 0)
        return self._become(coo(places, inner, tuple(size), unique=True))

    def __reduce_ex__(self, protocol: Any) -> Any:
        given = (self._places, self._inner.detach(), size_of(self), self._unique)
        return _rebuild, (*given, self.requires_grad and self.is_leaf)


def _rebuild(places: Tensor, inner: Tensor, shape: Any, unique: bool, grad: bool) -> CooTensor:
    return coo(places, inner.requires_grad_(grad), tuple(shape), unique)


def _shape_with(tensor: CooTensor, inner: Tensor) -> tuple[int, ...]:
    return (*size_of(tensor)[: tensor.sparse_dim()], *size_of(inner)[1:])


def coo(places: Tensor, inner: Tensor, shape: Sequence[int], unique: bool = False) -> CooTensor:
    """A tensor from its parts. places: [d, n], inner: [n, *dense], shape: [*sparse, *dense]"""
    made: CooTensor = CooTensor._made(inner, tuple(shape))
    made._places = places
    made._unique = unique or size_of(places)[0] == 0 or size_of(places)[1] < 2
    return made


def linear(indices: np.ndarray[Any, Any], shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """Places as single numbers that sort in the same order. [d, n] -> [n]"""
    flat = np.zeros(indices.shape[1], np.int64)
    for index, extent in zip(indices, shape, strict=False):
        flat = flat * max(extent, 1) + index
    return flat


def merged(places: Tensor, inner: Tensor, shape: Sequence[int]) -> CooTensor:
    """The coalesced tensor with these entries. How many remain is read from the indices."""
    indices = np.asarray(to_host(places))
    flat = linear(indices, shape)
    unique, first, segment = np.unique(flat, return_index=True, return_inverse=True)
    if len(unique) == len(flat) and (np.diff(flat) > 0).all():
        return coo(places, inner, shape, unique=True)
    where = device_of_tensor(places)
    kept = from_host(np.ascontiguousarray(indices[:, first]), device=where)
    segments = from_host(segment.reshape(-1).astype(np.int64), device=where)
    return coo(kept, segment_sum(inner, segments, len(unique)), shape, unique=True)


def dense_of(tensor: CooTensor) -> Tensor:
    """Every element. -> [*shape]"""
    extents = size_of(tensor)[: tensor.sparse_dim()]
    return placed(tensor._inner, tensor._places, extents)


def joined(parts: Sequence[CooTensor], shape: Sequence[int]) -> CooTensor:
    """All entries of several tensors of one shape, not coalesced."""
    places = cat([p._places for p in parts], 1)
    return coo(places, cat([p._inner for p in parts], 0), shape)


def wrapped_dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """Dimensions given as one or several numbers, counted from the front."""
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(wrap_dim(d, ndim) for d in given)


def is_number(value: Any) -> bool:
    """A Python number or a strided tensor without dimensions?"""
    if isinstance(value, Composed):
        return False
    return (
        value.ndim == 0 if isinstance(value, Tensor) else isinstance(value, int | float | complex)
    )
