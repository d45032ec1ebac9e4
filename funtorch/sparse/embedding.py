"""Embeddings whose weight gets a sparse gradient: only the rows that were looked up."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.dispatch import to_host
from funtorch.grad_mode import mode, no_grad
from funtorch.ops import nn_embedding
from funtorch.sparse.coo import coo
from funtorch.tape import Node, gradient_edge
from funtorch.tensor import Tensor, device_of_tensor, from_host, size_of


class RowsBackward(Node):
    """Gradient of a lookup: the rows of the output's gradient, at the indices that asked for them."""

    __slots__ = ("by_frequency", "indices", "padding", "shape")

    indices: Tensor
    padding: int | None
    shape: tuple[int, ...]
    by_frequency: bool

    def apply(self, grads: list[Tensor | None]) -> list[Any]:
        """[..., d] -> COO [n, d] with one dense dimension, not coalesced; padding is left out."""
        (grad,) = grads
        if grad is None:
            return [None]
        if self.by_frequency:
            raise RuntimeError(
                "embedding_backward: scale_grad_by_freq not supported with sparse gradients"
            )
        flat, rows = self.indices.reshape(-1).long(), grad.reshape(-1, self.shape[1])
        if self.padding is not None:
            keep = np.nonzero(np.asarray(to_host(flat)) != self.padding)[0]
            chosen = from_host(keep.astype(np.int64), device=device_of_tensor(flat))
            flat, rows = flat.index_select(0, chosen), rows.index_select(0, chosen)
        return [coo(flat.unsqueeze(0), rows, self.shape)]

    def name(self) -> str:
        """PyTorch's name for it."""
        return "EmbeddingBackward0"


def rows_of(weight: Tensor, indices: Tensor, padding: int | None, by_frequency: bool) -> Tensor:
    """weight[indices], its gradient sparse. [n, d], [...] -> [..., d]"""
    with no_grad():
        made: Tensor = nn_embedding._embedding(weight, indices, None, False)
    edge = gradient_edge(weight)
    if mode.enabled and edge is not None:
        node = RowsBackward((edge,), (made._value.aval,))
        node.indices, node.padding, node.shape = indices.detach(), padding, size_of(weight)
        node.by_frequency = by_frequency
        made._node, made._requires = node, True
    return made


nn_embedding.sparse_rows.append(rows_of)
