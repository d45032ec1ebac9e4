"""x[...] and x[...] = y, with everything PyTorch takes, and the functions around them.

Integers, slices, None and ... make views. Tensors, lists and masks gather (a copy). Masks become
integer indices on the host: their count is data, so they are a barrier.
"""

from __future__ import annotations

import operator
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch import dtypes
from funtorch.device import device_of
from funtorch.dispatch import lay_out, read, to_host
from funtorch.ops import view_rules as rules
from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops._orders import gathered
from funtorch.ops._promote import result_dtype
from funtorch.ops.creation import infer_array
from funtorch.ops.memory import _copied, convert, move
from funtorch.ops.view_ops import select, slice_along, wrap_dim
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
        elif isinstance(k, bool | np.bool_):
            out = make_view(out, rules.unsqueeze_view, dim)
            gathers.append(np.zeros(1 if k else 0, np.int64))
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


@op(function=False, saves=("indices",), grad_name="IndexBackward0", order=gathered)
def _index(self: Array, indices: list[Array | None]) -> Array:
    """Gather. self: [...], indices: per dimension an integer array or None"""
    return self[tuple(slice(None) if i is None else i for i in indices)]


def _added(where: Any, values: Array) -> Array:
    """Values added at places of an array; of bools, whether any is true."""
    return where.max(values) if values.dtype == jnp.bool_ else where.add(values)


@op(function=False, saves=("indices",), grad_name="IndexPutBackward0", layout="pointwise")
def _index_put(
    self: Array, indices: list[Array | None], values: Array, accumulate: bool = False
) -> Array:
    """Scatter `values`, broadcast, into a copy of self."""
    where = self.at[tuple(slice(None) if i is None else i for i in indices)]
    values = values.astype(self.dtype)
    return _added(where, values) if accumulate else where.set(values)


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


def _normalised(index: Array, extent: int) -> Array:
    return jnp.where(index < 0, index + extent, index)


@op(function=False, saves=("index",), grad_name="IndexSelectBackward0")
def _index_select(self: Array, dim: int, index: Array) -> Array:
    return jnp.take(self, index.reshape(-1), axis=dim) if self.ndim else self


@composite("method", out="exact apart")
def index_select(self: Tensor, dim: int, index: Tensor) -> Tensor:
    """Entries of a dimension by index. self: [..., n, ...], index: [m] -> [..., m, ...]"""
    if len(size_of(index)) > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if dtype_of(index) not in (dtypes.int32, dtypes.int64):
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    return _index_select(self, wrap_dim(dim, len(size_of(self))), index)


def _gather_checks(name: str, self: Array, dim: int, index: Array) -> int:
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    if max(self.ndim, 1) != max(index.ndim, 1) and index.size:
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as input tensor ({name}: "
            f"index {index.shape}, input {self.shape})"
        )
    return wrap_dim(dim, self.ndim)


@op("method", saves=("index",), out="exact apart")
def gather(self: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    """out[i][j] = self[index[i][j]][j] for dim 0. self: [...], index: [...] -> index's shape"""
    d = _gather_checks("gather", self, dim, index)
    if not self.ndim:
        return jnp.broadcast_to(self, index.shape)
    for i, (n, m) in enumerate(zip(index.shape, self.shape, strict=True)):
        if i != d and n > m:
            raise RuntimeError(
                f"Size does not match at dimension {i} expected index {list(index.shape)} to be "
                f"no larger than self {list(self.shape)} apart from dimension {d}"
            )
    return self[_along(index, d)]


def _along(index: Array, dim: int) -> tuple[Array, ...]:
    """Index arrays that pick `index` along one dimension and the same place along the others."""
    places = list(jnp.indices(index.shape, sparse=True))
    places[dim] = index
    return tuple(places)


def _scatter(name: str, self: Array, dim: int, index: Array, src: Any, how: str) -> Array:
    d = _gather_checks(name, self, dim, index)
    if not self.ndim:
        out = _scatter(
            name,
            self.reshape(1),
            0,
            index.reshape(-1),
            src.reshape(-1) if hasattr(src, "reshape") else src,
            how,
        )
        return out.reshape(())
    if hasattr(src, "ndim") and src.ndim:
        if src.ndim != index.ndim and index.size:
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
        if src.dtype != self.dtype:
            raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
        if any(n > m for n, m in zip(index.shape, src.shape, strict=True)):
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)}"
            )
        src = src[tuple(slice(n) for n in index.shape)]
    for i, (n, m) in enumerate(zip(index.shape, self.shape, strict=True)):
        if i != d and n > m and index.size:
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than self "
                f"{list(self.shape)} apart from dimension {d}"
            )
    if not index.size:
        return self
    if self.dtype == jnp.bool_ and how == "add":
        how = "max"
    return getattr(self.at[_along(index, d)], how)(src)


@op(function=False, saves=("index", "src"), grad_name="ScatterBackward0")
def _scatter_set(self: Array, dim: int, index: Array, src: Array | Scalar) -> Array:
    src = jnp.asarray(src).astype(self.dtype) if not hasattr(src, "ndim") else src
    return _scatter("scatter", self, dim, index, src, "set")


@composite("method", "inplace")
def scatter(
    self: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Tensor:
    """self[index[i][j]][j] = src[i][j] for dim 0, into a copy."""
    source = value if src is None else src
    if reduce is not None:
        return _scatter_by(self, dim, index, source, reduce)
    return _scatter_set(self, dim, index, source)


@op(function=False, grad_name="ScatterReduceBackward0")
def _scatter_by(self: Array, dim: int, index: Array, src: Array | Scalar, how: str) -> Array:
    if how not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    src = src if hasattr(src, "ndim") and src.ndim else jnp.asarray(src).astype(self.dtype)
    return _scatter("scatter", self, dim, index, src, how)


@op("method", "inplace", saves=("index",))
def scatter_add(self: Array, dim: int, index: Array, src: Array) -> Array:
    """self[index[i][j]][j] += src[i][j] for dim 0, into a copy; duplicates add up."""
    return _scatter("scatter_add", self, dim, index, src, "add")


@op("method", "inplace", saves=("index",))
def index_add(self: Array, dim: int, index: Array, source: Array, *, alpha: Scalar = 1) -> Array:
    """self[index[i]] += alpha * source[i] along a dimension, into a copy."""
    d = wrap_dim(dim, self.ndim)
    if index.ndim > 1:
        raise RuntimeError("index_add_(): Index is supposed to be a vector")
    if self.dtype != source.dtype:
        raise RuntimeError("index_add_(): self and source expected to have the same dtype")
    rest, given = list(self.shape), list(source.shape)
    if self.ndim and source.ndim == self.ndim:
        del rest[d], given[d]
    if self.ndim and rest != given:
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {list(self.shape)} source.shape = {list(source.shape)}"
        )
    if not self.ndim:
        return self + (alpha * source).sum().astype(self.dtype)
    where = (slice(None),) * d + (index.reshape(-1),)
    return _added(self.at[where], (source * alpha).astype(self.dtype))


@op(function=False, saves=("index",), grad_name="IndexCopyBackward0")
def _index_copy(self: Array, dim: int, index: Array, source: Array) -> Array:
    if not self.ndim:
        return source.reshape(())
    return self.at[(slice(None),) * dim + (index.reshape(-1),)].set(source)


@composite("method", "inplace")
def index_copy(self: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """self[index[i]] = source[i] along a dimension, into a copy."""
    if dtype_of(self) is not dtype_of(source):
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{dtype_of(self).name} and (source) {dtype_of(source).name}"
        )
    if dtype_of(index) is not dtypes.int64:
        raise IndexError("index_copy_(): Expected a long tensor for index")
    return _index_copy(self, wrap_dim(dim, len(size_of(self))), index, source)


@op(function=False, saves=("index",), grad_name="IndexFillBackward0", layout="pointwise")
def _index_fill(self: Array, dim: int, index: Array, value: Array | Scalar) -> Array:
    value = jnp.asarray(value).astype(self.dtype)
    if not self.ndim:
        return value.reshape(())
    return self.at[(slice(None),) * dim + (index.reshape(-1),)].set(value)


@composite("method", "inplace")
def index_fill(self: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """self[index] = value along a dimension, into a copy."""
    if isinstance(value, Tensor) and size_of(value):
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{len(size_of(value))} dimension(s)."
        )
    if dtype_of(index) is not dtypes.int64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    return _index_fill(self, wrap_dim(dim, len(size_of(self))), index, value)


@op("method", "inplace", saves=("mask",))
def masked_fill(self: Array, mask: Array, value: Array | Scalar) -> Array:
    """`value` where the mask holds. self: [...], mask: [...] -> broadcast shape"""
    if mask.dtype != jnp.bool_:
        raise RuntimeError(
            f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}"
        )
    if hasattr(value, "ndim") and value.ndim:
        raise RuntimeError(
            "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    if jnp.iscomplexobj(value) and not jnp.iscomplexobj(self):
        raise RuntimeError(f"value cannot be converted to type {self.dtype.name} without overflow")
    return jnp.where(mask, jnp.asarray(value).astype(self.dtype), self)


@composite("method", out="exact apart")
def masked_select(self: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds. A barrier: their number is data. -> [n]"""
    if dtype_of(mask) is not dtypes.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = np.broadcast_shapes(size_of(self), size_of(mask))
    return getitem(self.expand(shape), mask.expand(shape))


@op(function=False, saves=("mask",), grad_name="MaskedScatterBackward0")
def _masked_scatter(self: Array, mask: Array, source: Array) -> Array:
    shape = jnp.broadcast_shapes(self.shape, mask.shape)
    self, mask = jnp.broadcast_to(self, shape), jnp.broadcast_to(mask, shape).reshape(-1)
    order = jnp.clip(jnp.cumsum(mask) - 1, 0, max(source.size - 1, 0))
    if not source.size:
        return self
    return jnp.where(mask, source.reshape(-1)[order], self.reshape(-1)).reshape(shape)


@composite("method", "inplace")
def masked_scatter(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Elements of `source`, in order, where the mask holds, into a copy."""
    if dtype_of(mask) is not dtypes.bool_:
        raise RuntimeError("masked_scatter_ only supports boolean masks")
    if dtype_of(self) is not dtype_of(source):
        raise RuntimeError(
            "masked_scatter_: expected self and source to have same dtypes but got "
            f"{dtype_of(self).name} and {dtype_of(source).name}"
        )
    return _masked_scatter(self, mask, source)


@op("method", "inplace", saves=("index",), layout="pointwise")
def put(self: Array, index: Array, source: Array, accumulate: bool = False) -> Array:
    """Write to flat positions, into a copy."""
    where = self.reshape(-1).at[index.reshape(-1)]
    source = source.reshape(-1)
    return (_added(where, source) if accumulate else where.set(source)).reshape(self.shape)


@op("method", saves=("index",), out="exact apart")
def take(self: Array, index: Array) -> Array:
    """Elements at flat positions. -> index's shape"""
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    return self.reshape(-1)[index]


@composite("method")
def take_along_dim(self: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` that broadcasts; without a dim on the flattened tensor."""
    if dtype_of(indices) is not dtypes.int64:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{dtype_of(indices).name}"
        )
    if dim is None:
        return gather(self.reshape(-1), 0, indices.reshape(-1))
    if len(size_of(self)) != len(size_of(indices)):
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {len(size_of(self))} dimensions for input, and {len(size_of(indices))} "
            "dimensions for indices"
        )
    d = wrap_dim(dim, len(size_of(self)))
    mine, theirs = list(size_of(self)), list(size_of(indices))
    common = list(
        np.broadcast_shapes(
            tuple(mine[:d] + [1] + mine[d + 1 :]), tuple(theirs[:d] + [1] + theirs[d + 1 :])
        )
    )
    common_self, common_index = list(common), list(common)
    common_self[d], common_index[d] = mine[d], theirs[d]
    return gather(self.expand(common_self), d, indices.expand(common_index))


@composite("method")
def nonzero(self: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of the non-zero elements: [n, ndim], or one [n] per dimension. A barrier."""
    found = np.nonzero(np.atleast_1d(to_host(self)))
    where = device_of(self._value.aval.place)
    if as_tuple:
        return tuple(from_host(f, device=where) for f in found)
    if not size_of(self):
        return from_host(np.zeros((len(found[0]), 0), np.int64), device=where)
    made = from_host(np.stack(found, -1).astype(np.int64), device=where)
    lay_out(made, (1, 0))
    return made


@composite("method")
def argwhere(self: Tensor) -> Tensor:
    """Indices of the non-zero elements: [n, ndim]. A barrier."""
    return nonzero(self)


@op(function=False, saves=("condition",), grad_name="WhereBackward0", layout="pointwise")
def _where(condition: Array, self: Array | Scalar, other: Array | Scalar) -> Array:
    return jnp.where(condition, self, other)


@composite(function=False, aliases=("Tensor.where",))
def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """self where the condition holds, else other."""
    return where(condition, self, other)


@composite()
def where(condition: Tensor, self: Any = None, other: Any = None) -> Any:
    """self where the condition holds, else other; with the condition alone: nonzero."""
    if self is None and other is None:
        return nonzero(condition, as_tuple=True)
    if dtype_of(condition) not in (dtypes.bool_, dtypes.uint8):
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{dtype_of(condition).name}"
        )
    if dtype_of(condition) is dtypes.uint8:
        condition = convert(condition, dtypes.bool_, None)
    return _where_promoted(self, other, condition)


def _where_promoted(self: Any, other: Any, condition: Tensor) -> Tensor:
    place = device_of(condition._value.aval.place)
    both_numbers = not isinstance(self, Tensor) and not isinstance(other, Tensor)
    if both_numbers:
        kind = dtypes.promote_types(dtypes.of_scalar(self), dtypes.of_scalar(other))
        self = from_host(np.asarray(self, kind.numpy), device=place)
        other = from_host(np.asarray(other, kind.numpy), device=place)
    kinds = [dtype_of(t) if isinstance(t, Tensor) else None for t in (self, other)]
    if None in kinds or kinds[0] is not kinds[1]:
        from_promotion = result_kind(self, other)
        self, other = (
            convert(t, from_promotion, None)
            if isinstance(t, Tensor)
            else from_host(np.asarray(t).astype(from_promotion.numpy), device=place)
            for t in (self, other)
        )
    return _where(condition, self, other)


def result_kind(*operands: Any) -> dtypes.dtype:
    """`torch.result_type` of tensors and numbers."""
    known = [read(o).aval if isinstance(o, Tensor) else o for o in operands]
    return result_dtype(known, dtypes.get_default_dtype())


@composite()
def result_type(tensor1: Any, tensor2: Any) -> dtypes.dtype:
    """The dtype that arithmetic on these tensors or numbers gives."""
    return result_kind(tensor1, tensor2)
