"""embedding_bag: sums, means or maxima of embeddings."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from funtorch import dtypes
from funtorch.ops._bounds import Index
from funtorch.ops._declare import Array, composite, op
from funtorch.ops.nn_embedding import renormalise, sparse_rows
from funtorch.ops.ranges import arange
from funtorch.tensor import Tensor, dtype_of, size_of


def _bag_numbers(offsets: Array, count: int) -> Array:
    """The bag of each index; offsets: where bags begin. [bags] -> [count]"""
    return jnp.searchsorted(offsets, jnp.arange(count), side="right") - 1


@op(
    function=False,
    grad_name="EmbeddingBagBackward0",
    index=Index(
        "indices",
        dim=0,
        error=RuntimeError,
        message="Index of input takes value {bad} which is not in the valid range [0, {extent})",
    ),
)
def _bagged(
    self: Array,
    indices: Array,
    bags: Array,
    weights: Array | None,
    count: int,
    mode: str,
    padding: int | None,
    by_frequency: bool,
) -> Array:
    """self: [n, d], indices, bags, weights: [k] -> [count, d]"""
    rows = self[indices]
    if by_frequency:
        times = jnp.zeros(self.shape[:1], self.dtype).at[indices].add(1)
        shared = rows / times[indices][:, None]
        rows = lax.stop_gradient(rows - shared) + shared
    kept = jnp.ones(indices.shape, bool) if padding is None else indices != padding
    if mode == "max":
        return _largest(rows, bags, kept, count)
    if weights is not None:
        rows = rows * weights[:, None]
    rows = jnp.where(kept[:, None], rows, 0)
    total = jnp.zeros((count, self.shape[1]), self.dtype).at[bags].add(rows)
    if mode == "sum":
        return total
    sizes = jnp.zeros((count,), self.dtype).at[bags].add(kept.astype(self.dtype))
    return total / jnp.maximum(sizes, 1)[:, None]


def _largest(rows: Array, bags: Array, kept: Array, count: int) -> Array:
    """The first largest row entry of each bag takes the gradient; empty bags are zero."""
    low = jnp.where(kept[:, None], lax.stop_gradient(rows), -jnp.inf)
    best = jnp.full((count, rows.shape[1]), -jnp.inf, rows.dtype).at[bags].max(low)
    order = jnp.arange(rows.shape[0])[:, None]
    hit = (low == best[bags]) & kept[:, None]
    first = jnp.full(best.shape, rows.shape[0], order.dtype)
    first = first.at[bags].min(jnp.where(hit, order, rows.shape[0]))
    empty = first == rows.shape[0]
    picked = jnp.take_along_axis(rows, jnp.where(empty, 0, first), 0) if rows.shape[0] else best
    return jnp.where(empty, 0, picked)


def _check(input: Tensor, offsets: Any, weights: Any, mode: str) -> None:
    if weights is not None and size_of(weights) != size_of(input):
        raise ValueError(
            "embedding_bag: If per_sample_weights is not None, then it must have the same shape "
            f"as the input ({list(input.shape)})"
        )
    if weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )
    if input.ndim == 2 and offsets is not None:
        raise ValueError(
            "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of "
            "fixed length sequences"
        )
    if input.ndim == 1 and offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if input.ndim == 1 and offsets.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if input.ndim not in (1, 2):
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}"
        )
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")


@composite("functional", function=False)
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Embeddings reduced by bags. input: [k] with offsets [bags], or [bags, k] -> [bags, d]"""
    if dtype_of(weight) in (dtypes.int64, dtypes.int32) and dtype_of(input).is_floating_point:
        input, weight = weight, input
    _check(input, offsets, per_sample_weights, mode)
    if padding_idx is not None and padding_idx < 0:
        padding_idx += size_of(weight)[0]
    if max_norm is not None:
        renormalise(weight, input, max_norm, norm_type)
    weights = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    flat = input.reshape(-1)
    if input.ndim == 2:
        count = size_of(input)[0]
        bags = _rows_of(input)
    else:
        assert offsets is not None
        count = size_of(offsets)[0] - int(include_last_offset)
        bags = _bags_of(offsets, size_of(input)[0], count)
    how = (count, mode, padding_idx, scale_grad_by_freq)
    if sparse:
        return _sparse_bags(weight, flat.long(), bags, weights, how)
    return _bagged(weight, flat.long(), bags, weights, *how)


def _sparse_bags(weight: Tensor, flat: Tensor, bags: Tensor, weights: Any, how: Any) -> Tensor:
    """The rows are looked up with a sparse gradient, and then put into bags."""
    count, mode, padding, by_frequency = how
    if mode == "max":
        raise ValueError("max mode does not support sparse weights")
    if padding is not None:
        keep = (flat != padding).nonzero().squeeze(1)
        flat, bags = flat[keep], bags[keep]
        weights = None if weights is None else weights[keep]
    rows = sparse_rows[0](weight, flat, None, by_frequency)
    places = arange(size_of(flat)[0], device=flat.device)
    return _bagged(rows, places, bags, weights, count, mode, None, False)


@op(function=False, differentiable=False)
def _bags_of(self: Array, count: int, bags: int) -> Array:
    return jnp.clip(_bag_numbers(self[:bags], count), 0, max(bags - 1, 0))


@op(function=False, differentiable=False)
def _rows_of(self: Array) -> Array:
    rows, length = self.shape
    return jnp.repeat(jnp.arange(rows), length)
