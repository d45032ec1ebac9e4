"""Rules of indexing: Gather, GatherElements and their inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val, static


@rule("_index_select")
def index_select(g: Any, self: Val, dim: int, index: Val) -> Any:
    if not self.ndim:
        return NotImplemented
    axis = dim % self.ndim
    return (
        NotImplemented
        if index.ndim != 1
        else g.op("Gather", self, g.index(index), axis=axis, shape=tuple(g.inst.out_avals[0].shape))
    )


@rule("gather")
def gather(g: Any, self: Val, dim: int, index: Val, _: bool) -> Any:
    if not self.ndim or not index.ndim:
        return NotImplemented
    return g.op("GatherElements", self, g.index(index), axis=dim % self.ndim, shape=index.shape)


@rule("_index")
def index_(g: Any, self: Val, indices: Any) -> Any:
    """One index is a Gather along its dimension; truth values and several take the long way."""
    used = [(i, x) for i, x in enumerate(indices) if x is not None]
    if len(used) != 1 or used[0][1].dtype.kind not in "iu" or used[0][1].dtype.itemsize < 4:
        return NotImplemented
    axis, index = used[0]
    return g.op("Gather", self, g.index(index), axis=axis, shape=tuple(g.inst.out_avals[0].shape))


def _updates(g: Any, self: Val, index: Val, src: Any) -> Val | None:
    """Updates in the shape of the index; None where they would have to be cut first."""
    if not isinstance(src, Val):
        one = g.const(np.full([1] * index.ndim, src, self.dtype))
        return g.expanded(one, index.shape)  # type: ignore[no-any-return]
    return src if src.shape == index.shape else None


@rule("_scatter_set")
def scatter_set(g: Any, self: Val, dim: int, index: Val, src: Any) -> Any:
    updates = _updates(g, self, index, src)
    if updates is None or not self.ndim or not static(index.shape):
        return NotImplemented
    return g.op(
        "ScatterElements", self, g.index(index), updates, axis=dim % self.ndim, shape=self.shape
    )


@rule("scatter_add")
def scatter_add(g: Any, self: Val, dim: int, index: Val, src: Val) -> Any:
    updates = _updates(g, self, index, src)
    if updates is None or not self.ndim:
        return NotImplemented
    return g.op("ScatterElements", self, g.index(index), updates, axis=dim % self.ndim, reduction="add",
                shape=self.shape)  # fmt: skip
