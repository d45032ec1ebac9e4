"""Elements picked, and written, along a dimension by a tensor of indices: gather, scatter and kin."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch import dtypes
from funtorch.ops._bounds import IN_SELF, Index
from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops.view_ops import wrap_dim
from funtorch.tensor import Tensor, dtype_of, size_of


def added(where: Any, values: Array) -> Array:
    """Values added at places of an array; of bools, whether any is true."""
    return where.max(values) if values.dtype == jnp.bool_ else where.add(values)


def _normalised(index: Array, extent: int) -> Array:
    return jnp.where(index < 0, index + extent, index)


@op(
    function=False,
    saves=("index",),
    grad_name="IndexSelectBackward0",
    index=Index(
        "index",
        error=lambda ndim, dim: RuntimeError if ndim > 1 and dim == 1 else IndexError,
        message=IN_SELF,
    ),
)
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


ALONG = Index("index", error=RuntimeError)


@op("method", saves=("index",), out="exact apart", index=ALONG)
def gather(self: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    """out[i][j] = self[index[i][j]][j] for dim 0. self: [...], index: [...] -> index's shape"""
    d = _gather_checks("gather", self, dim, index)
    if not index.size:
        return jnp.zeros(index.shape, self.dtype)
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


@op(function=False, saves=("index", "src"), grad_name="ScatterBackward0", index=ALONG)
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


@op(function=False, grad_name="ScatterReduceBackward0", index=ALONG)
def _scatter_by(self: Array, dim: int, index: Array, src: Array | Scalar, how: str) -> Array:
    if how not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    src = src if hasattr(src, "ndim") and src.ndim else jnp.asarray(src).astype(self.dtype)
    return _scatter("scatter", self, dim, index, src, how)


@op("method", "inplace", saves=("index",), index=ALONG)
def scatter_add(self: Array, dim: int, index: Array, src: Array) -> Array:
    """self[index[i][j]][j] += src[i][j] for dim 0, into a copy; duplicates add up."""
    return _scatter("scatter_add", self, dim, index, src, "add")


@op(
    "method",
    "inplace",
    saves=("index",),
    index=Index(
        "index",
        # By scatter_add, if the dimension is an outermost or innermost one of several.
        error=lambda ndim, dim: RuntimeError if ndim > 1 and dim in (0, ndim - 1) else IndexError,
        message=IN_SELF,
    ),
)
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
    return added(self.at[where], (source * alpha).astype(self.dtype))


@op(function=False, saves=("index",), grad_name="IndexCopyBackward0", index=Index("index"))
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


@op(
    function=False,
    saves=("index",),
    grad_name="IndexFillBackward0",
    layout="pointwise",
    index=Index("index", negative=True),
)
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


_FLAT = Index(
    "index",
    dim=None,
    negative=True,
    message="out of range: tried to access index {bad} on a tensor of {extent} elements.",
)


@op("method", "inplace", saves=("index",), layout="pointwise", index=_FLAT)
def put(self: Array, index: Array, source: Array, accumulate: bool = False) -> Array:
    """Write to flat positions, into a copy."""
    where = self.reshape(-1).at[index.reshape(-1)]
    source = source.reshape(-1)
    return (added(where, source) if accumulate else where.set(source)).reshape(self.shape)


@op("method", saves=("index",), out="exact apart", index=_FLAT)
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
    # Indices beyond the end begin again, as PyTorch lets them.
    places = indices.expand(common_index) % max(mine[d], 1)
    return gather(self.expand(common_self), d, places)
