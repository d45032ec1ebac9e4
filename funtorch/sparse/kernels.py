"""The strided ops that sparse functions are composed of.

Indices are [d, n]: column k says where the k-th entry lies in the first d dimensions.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch.ops._declare import Array, op


@op(function=False, saves=("indices",), grad_name="ToDenseBackward0")
def placed(values: Array, indices: Array, shape: Any) -> Array:
    """Entries put into zeros; those with one place add up. [n, *rest], [d, n] -> [*shape, *rest]"""
    if not shape:
        return values.sum(0)
    full = jnp.zeros((*shape, *values.shape[1:]), values.dtype)
    at = full.at[tuple(indices)]
    return at.max(values) if values.dtype == jnp.bool_ else at.add(values)


@op(function=False, saves=("indices",), grad_name="ToSparseBackward1")
def picked(self: Array, indices: Array) -> Array:
    """The entries at some places. [*shape, *rest], [d, n] -> [n, *rest]"""
    if not indices.shape[0]:
        return jnp.broadcast_to(self, (indices.shape[1], *self.shape))
    return self[tuple(indices)]


@op(function=False, saves=("indices",), grad_name="AddBackward0")
def added_at(self: Array, values: Array, indices: Array) -> Array:
    """Entries added to a tensor. [*shape, *rest], [n, *rest], [d, n] -> [*shape, *rest]"""
    dtype = jnp.promote_types(self.dtype, values.dtype)
    return self.astype(dtype).at[tuple(indices)].add(values.astype(dtype))


@op(function=False, saves=("segments",), grad_name="CoalesceBackward0")
def segment_sum(values: Array, segments: Array, count: int) -> Array:
    """Sums of the entries of each segment. [n, *rest], [n] -> [count, *rest]"""
    full = jnp.zeros((count, *values.shape[1:]), values.dtype)
    at = full.at[segments]
    return at.max(values) if values.dtype == jnp.bool_ else at.add(values)


@op(function=False, grad_name="MmBackward0")
def times_dense(values: Array, indices: Array, dense: Array, rows: int) -> Array:
    """A sparse matrix times a dense one. [n], [2, n], [columns, k] -> [rows, k]"""
    row, column = indices
    terms = values[:, None] * dense[column]
    return jnp.zeros((rows, dense.shape[1]), terms.dtype).at[row].add(terms)


@op(function=False, grad_name="SparseSampledAddmmBackward0")
def sampled_product(one: Array, other: Array, indices: Array) -> Array:
    """Entries of a product at some places. [..., m, k], [..., k, n], [d, n] -> [n]"""
    *batch, row, column = indices
    left = one[(*batch, row)]
    right = jnp.swapaxes(other, -1, -2)[(*batch, column)]
    return (left * right).sum(-1)


@op(function=False, grad_name="SparseSoftmaxBackward0")
def segment_softmax(values: Array, segments: Array, count: int, log: bool) -> Array:
    """softmax among the entries of each segment. [n, *rest], [n] -> [n, *rest]"""
    low = jnp.full((count, *values.shape[1:]), -jnp.inf, values.dtype)
    shifted = values - low.at[segments].max(values)[segments]
    powers = jnp.exp(shifted)
    total = jnp.zeros_like(low).at[segments].add(powers)[segments]
    return shifted - jnp.log(total) if log else powers / total


@op(function=False, grad_name="SparseMmReduceImplBackward0")
def reduced_product(values: Array, indices: Array, dense: Array, rows: int, reduce: str) -> Array:
    """`times_dense` with the terms of each row reduced by mean, amax or amin; empty rows are 0."""
    row, column = indices
    terms = values[:, None] * dense[column]
    shape = (rows, dense.shape[1])
    count = jnp.zeros((rows, 1), terms.dtype).at[row].add(1)
    if reduce == "mean":
        return jnp.zeros(shape, terms.dtype).at[row].add(terms) / jnp.maximum(count, 1)
    worst = -jnp.inf if reduce == "amax" else jnp.inf
    at = jnp.full(shape, worst, terms.dtype).at[row]
    best = at.max(terms) if reduce == "amax" else at.min(terms)
    return jnp.where(count > 0, best, 0)


@op(function=False, differentiable=False)
def rows_of(pointers: Array, count: int) -> Array:
    """The row of each entry of a compressed matrix. [*batch, rows + 1] -> [*batch, count]"""
    entries = jnp.arange(count)
    flat = pointers.reshape(-1, pointers.shape[-1])
    found = [jnp.searchsorted(p, entries, side="right") - 1 for p in flat]
    made = jnp.stack(found) if found else jnp.zeros((0, count), jnp.int64)
    return made.reshape(*pointers.shape[:-1], count).astype(jnp.int64)


@op(function=False, differentiable=False)
def pointers_of(rows: Array, count: int) -> Array:
    """Where each row begins, from sorted row numbers. [n] -> [count + 1]"""
    return jnp.searchsorted(rows, jnp.arange(count + 1), side="left").astype(jnp.int64)
