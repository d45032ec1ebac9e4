"""Scattering with a reduction: scatter_reduce, index_reduce, segment_reduce.

All three are one function of (base, index, source); gradients are spread over ties as PyTorch does.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funtorch.ops._bounds import IN_SELF, Index
from funtorch.ops._declare import Array, op
from funtorch.ops.scatter_gather import ALONG, _along, _gather_checks
from funtorch.ops.view_ops import wrap_dim

Where = tuple[Any, ...]


def _count(base: Array, where: Where, what: Array) -> Array:
    return jnp.zeros(base.shape, base.dtype).at[where].add(what.astype(base.dtype))


def _identity(how: str, dtype: Any) -> Any:
    if how in ("amax", "amin"):
        info = jnp.iinfo(dtype) if jnp.issubdtype(dtype, jnp.integer) else None
        if info is not None:
            return info.min if how == "amax" else info.max
        return (-np.inf if how == "amax" else np.inf) if dtype != jnp.bool_ else how == "amin"
    return 1 if how == "prod" else 0


def _touched(base: Array, where: Where) -> Array:
    return jnp.zeros(base.shape, bool).at[where].set(True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _extreme(base: Array, source: Array, where: Any, how: str) -> Array:
    at = base.at[where.index]
    return at.max(source) if how == "amax" else at.min(source)


@_extreme.defjvp
def _extreme_jvp(where, how, primals, tangents):  # type: ignore[no-untyped-def]
    (base, source), (dbase, dsource) = primals, tangents
    out = _extreme(base, source, where, how)
    own = (base == out).astype(base.dtype)
    theirs = (source == out[where.index]).astype(base.dtype)
    ties = own + _count(base, where.index, theirs)
    moved = own * dbase + jnp.zeros_like(base).at[where.index].add(theirs * dsource)
    return out, moved / ties


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _product(base: Array, source: Array, where: Any) -> Array:
    return base.at[where.index].multiply(source)


@_product.defjvp
def _product_jvp(where, primals, tangents):  # type: ignore[no-untyped-def]
    """PyTorch's formulas, also for second derivatives: a product without one of its factors is the
    whole divided by it, or, if that factor is the only zero, the product of all that are not."""
    (base, source), (dbase, dsource) = primals, tangents
    at = where.index
    out = _product(base, source, where)
    own = jnp.where(base == 0, 1, base)
    from_base = _product(own, source, where) / own * dbase
    zero = source == 0
    alone = zero & (_count(base, at, zero)[at] == 1)
    rest = _product(base, jnp.where(alone, 1, source), where)[at]
    others = jnp.where(alone, rest, out[at] / jnp.where(zero, 1, source))
    return out, from_base + jnp.zeros_like(base).at[at].add(others * dsource)


class _Where:
    """Index arrays as an argument that JAX does not look into."""

    def __init__(self, index: Where) -> None:
        self.index = index


def _reduced(base: Array, where: Where, source: Array, how: str, include_self: bool) -> Array:
    if not source.size:
        return base
    if not include_self:
        start = jnp.asarray(_identity(how, base.dtype), base.dtype)
        base = jnp.where(_touched(base, where), start, base)
    at = _Where(where)
    if base.dtype == jnp.bool_:  # True + True and True * True are True
        how = {"sum": "amax", "prod": "amin"}.get(how, how)
    if how in ("amax", "amin"):
        return _extreme(base, source, at, how)
    if how == "prod":
        return _product(base, source, at)
    total = base.at[where].add(source)
    if how == "sum":
        return total
    count = _count(base, where, jnp.ones(source.shape, base.dtype)) + int(include_self)
    count = jnp.maximum(count, 1)
    if jnp.issubdtype(base.dtype, jnp.integer):
        return jnp.floor_divide(total, count)
    return total / count


_HOW = ("sum", "prod", "mean", "amax", "amin")


@op("method", "inplace", grad_name="ScatterReduceBackward0", index=ALONG)
def scatter_reduce(
    self: Array, dim: int, index: Array, src: Array, reduce: str, *, include_self: bool = True
) -> Array:
    """self[index[i][j]][j] reduced with src[i][j] for dim 0, into a copy. reduce: sum, prod, ..."""
    if reduce not in _HOW:
        raise RuntimeError(f"reduce argument must be either {', '.join(_HOW)}, got {reduce}")
    d = _gather_checks("scatter_reduce", self, dim, index)
    if self.dtype != src.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if not self.ndim:
        out = _reduced(self[None], (index.reshape(-1),), src.reshape(-1), reduce, include_self)
        return out[0]
    if src.ndim != self.ndim and index.size:
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    for i, n in enumerate(index.shape):
        if index.size and (n > src.shape[i] or (i != d and n > self.shape[i])):
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than self "
                f"{list(self.shape)} apart from dimension {d} and to be no larger size than src "
                f"{list(src.shape)}"
            )
    source = src[tuple(slice(n) for n in index.shape)]
    return _reduced(self, _along(index, d), source, reduce, include_self)


@op(
    "method",
    "inplace",
    grad_name="IndexReduceBackward0",
    index=Index("index", message=IN_SELF),
)
def index_reduce(
    self: Array, dim: int, index: Array, source: Array, reduce: str, *, include_self: bool = True
) -> Array:
    """self[index[i]] reduced with source[i] along a dimension, into a copy."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}."
        )
    d = wrap_dim(dim, self.ndim)
    if index.ndim > 1:
        raise IndexError("index_reduce_(): Index is supposed to be a vector")
    if self.dtype != source.dtype:
        raise RuntimeError("index_reduce_(): self and source expected to have the same dtype")
    if not self.ndim:
        out = _reduced(self[None], (index.reshape(-1),), source.reshape(-1), reduce, include_self)
        return out[0]
    where = (slice(None),) * d + (index.reshape(-1),)
    return _reduced(self, where, source, reduce, include_self)


_SEGMENT = {"sum": "sum", "mean": "mean", "max": "amax", "min": "amin", "prod": "prod"}


@op(aliases=("_segment_reduce",), grad_name="SegmentReduceBackward0")
def segment_reduce(
    data: Array,
    reduce: str,
    *,
    lengths: Array | None = None,
    indices: Array | None = None,
    offsets: Array | None = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: float | None = None,
) -> Array:
    """Segments along an axis reduced, given by lengths or offsets. [..., n, ...] -> [..., k, ...]"""
    if reduce not in _SEGMENT:
        raise RuntimeError(f"segment_reduce(): reduce must be one of {list(_SEGMENT)}")
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    how = _SEGMENT[reduce]
    if lengths is None:
        assert offsets is not None
        lengths = jnp.diff(offsets, axis=-1)
    batch = lengths.ndim - 1
    axis = axis % data.ndim
    if axis != batch:
        raise RuntimeError("segment_reduce(): Expected axis to be the last dimension of lengths")
    ends = jnp.cumsum(lengths, -1)
    n, k = data.shape[axis], lengths.shape[-1]
    number = (jnp.arange(n) >= ends[..., None]).sum(-2)  # [batch..., n]: the segment of each row
    start = _identity(how, data.dtype) if initial is None else initial
    start = (
        (1 if how == "prod" else 0 if how in ("sum", "mean") else start)
        if initial is None
        else start
    )
    shape = (*data.shape[:axis], k, *data.shape[axis + 1 :])
    lead = jnp.indices(number.shape, sparse=True)[:-1]
    base = jnp.full(shape, start, data.dtype)
    if how != "mean":
        return _reduced(base, (*lead, number), data, how, True)
    total = _reduced(base, (*lead, number), data, "sum", True)
    sizes = lengths.reshape(lengths.shape + (1,) * (data.ndim - lengths.ndim)).astype(data.dtype)
    empty = jnp.nan if initial is None else initial
    return jnp.where(sizes > 0, total / jnp.where(sizes > 0, sizes, 1), empty)
