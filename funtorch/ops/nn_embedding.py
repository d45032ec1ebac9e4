"""Lookups: embedding and one-hot codes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from funtorch import dtypes
from funtorch.grad_mode import no_grad
from funtorch.ops._bounds import IN_SELF, Index
from funtorch.ops._declare import Array, composite, op
from funtorch.ops._linalg import readable
from funtorch.tensor import Tensor, dtype_of, size_of


@op(
    function=False,
    saves=("indices",),
    grad_name="EmbeddingBackward0",
    index=Index("indices", dim=0, message=IN_SELF),
)
def _embedding(self: Array, indices: Array, padding: int | None, by_frequency: bool) -> Array:
    """Rows by index; the padding row gets no gradient. [n, d], [...] -> [..., d]

    by_frequency: the gradient of a row is divided by how often it occurs.
    """
    rows = self[indices]
    if by_frequency:
        counts = jnp.zeros(self.shape[:1], self.dtype).at[indices.reshape(-1)].add(1)
        shared = rows / counts[indices][..., None]
        rows = lax.stop_gradient(rows - shared) + shared
    if padding is None:
        return rows
    return jnp.where((indices == padding)[..., None], lax.stop_gradient(rows), rows)


@composite("functional", function=False)
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a table. input: [...] of indices, weight: [n, d] -> [..., d]

    sparse: the gradient of the weight is a COO tensor of the rows that were looked up.
    """
    if dtype_of(input) not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {dtype_of(input)!r} instead (while checking arguments for "
            "embedding)"
        )
    if len(size_of(weight)) != 2:
        raise RuntimeError("'weight' must be 2-D")
    count = size_of(weight)[0]
    if padding_idx is not None:
        if not -count <= padding_idx < count:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= count
    if max_norm is not None:
        renormalise(weight, input, max_norm, norm_type)
    if sparse:
        return sparse_rows[0](weight, input, padding_idx, scale_grad_by_freq)
    return _embedding(weight, input, padding_idx, scale_grad_by_freq)


sparse_rows: list[Any] = []
"""(weight, indices, padding, by frequency?) -> rows with a sparse gradient; put here by `sparse`."""


def renormalise(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    with no_grad():
        rows = input.reshape(-1)
        chosen = weight.index_select(0, rows)
        weight.index_copy_(0, rows, chosen.renorm(norm_type, 0, max_norm))


@op(function=False, differentiable=False)
def _one_hot(self: Array, classes: int) -> Array:
    return (self[..., None] == jnp.arange(classes)).astype(jnp.int64)


@composite("functional", function=False)
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A one at each index, zeros elsewhere. [...] -> [..., classes]; without classes a barrier."""
    if dtype_of(tensor) is not dtypes.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if num_classes == -1:
        if not tensor.numel():
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(tensor.max()) + 1
    if tensor.numel() and readable(tensor):
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0:
            raise RuntimeError("Class values must be non-negative.")
        if high >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    return _one_hot(tensor, num_classes)
