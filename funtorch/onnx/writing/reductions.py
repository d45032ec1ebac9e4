"""Rules of reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funtorch.onnx.writing.primitives.reductions import comparable, ordered, reduced
from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val
from funtorch.ops.reductions import all_dims


def _total(g: Any, x: Val, dtype: Any) -> Val:
    """As PyTorch sums: whole numbers as int64."""
    if dtype is not None:
        return g.cast(x, dtype)  # type: ignore[no-any-return]
    return x if x.dtype.kind in "fV" else g.cast(x, np.int64)  # type: ignore[no-any-return]


@rule("sum")
def sum_(g: Any, self: Val, dim: Any, keepdim: bool, dtype: Any) -> Any:
    return reduced(g, "ReduceSum", _total(g, self, dtype), all_dims(dim, self.ndim), keepdim)


@rule("mean")
def mean(g: Any, self: Val, dim: Any, keepdim: bool, dtype: Any) -> Any:
    x = self if dtype is None else g.cast(self, dtype)
    axes = all_dims(dim, self.ndim)
    count = math.prod(self.shape[d] for d in axes)  # type: ignore[index]
    if count == 0:
        return NotImplemented
    return reduced(g, "ReduceMean", x, axes, keepdim)


@rule("_prod")
def prod(g: Any, self: Val, dim: Any, keepdim: bool, dtype: Any) -> Any:
    axes = tuple(range(self.ndim)) if dim is None else all_dims(dim, self.ndim)
    return reduced(g, "ReduceProd", _total(g, self, dtype), axes, keepdim and dim is not None)


@rule("logsumexp")
def logsumexp(g: Any, self: Val, dim: Any, keepdim: bool) -> Any:
    return reduced(g, "ReduceLogSumExp", self, all_dims(dim, self.ndim), keepdim)


def _extreme(name: str, kind: str) -> None:
    @rule(name)
    def write(g: Any, self: Val, dim: Any, keepdim: bool) -> Any:
        made = reduced(g, kind, comparable(g, self), all_dims(dim, self.ndim), keepdim)
        return g.cast(made, self.dtype)


_extreme("amax", "ReduceMax")
_extreme("amin", "ReduceMin")


@rule("_of_all")
def of_all(g: Any, self: Val, largest: bool) -> Any:
    kind = "ReduceMax" if largest else "ReduceMin"
    return g.cast(reduced(g, kind, comparable(g, self), range(self.ndim)), self.dtype)


@rule("_along")
def along(g: Any, self: Val, dim: int, keepdim: bool, largest: bool) -> Any:
    if not self.ndim:
        return NotImplemented
    axis = dim % self.ndim
    x = comparable(g, self)
    kinds = ("ReduceMax", "ArgMax") if largest else ("ReduceMin", "ArgMin")
    values = g.reduce(kinds[0], x, [axis], keepdim)
    index = g.op(kinds[1], x, axis=axis, keepdims=int(keepdim), dtype=np.int64, shape=values.shape)
    return [g.cast(values, self.dtype), index]


@rule("topk")
def topk(g: Any, self: Val, k: int, dim: int, largest: bool, in_order: bool) -> Any:
    if not self.ndim:
        return NotImplemented
    axis, shape = dim % self.ndim, tuple(g.inst.out_avals[0].shape)
    _, index = ordered(g, self, k, axis, largest=int(largest), sorted=1)
    index.shape = index.held = shape
    return [g.op("GatherElements", self, index, axis=axis, shape=shape), index]


@rule("cumsum")
def cumsum(g: Any, self: Val, dim: int, dtype: Any) -> Any:
    x = _total(g, self, dtype)
    if not x.ndim or x.dtype.name not in ("float32", "float64", "int32", "int64"):
        return NotImplemented
    return g.op("CumSum", x, g.const(dim % x.ndim, np.int64), shape=x.shape)


@rule("argmax", "argmin")
def argmax(g: Any, self: Val, dim: int | None, keepdim: bool) -> Any:
    if not self.ndim:
        return NotImplemented
    kind = "ArgMax" if g.inst.op.name == "argmax" else "ArgMin"
    out = tuple(g.inst.out_avals[0].shape)
    x = comparable(g, self)
    if dim is None:
        flat = g.reshape(x, (math.prod(self.shape),))  # type: ignore[arg-type]
        made = g.op(kind, flat, axis=0, keepdims=0, dtype=np.int64, shape=())
        return g.reshape(made, out)
    return g.op(kind, x, axis=dim % self.ndim, keepdims=int(keepdim), dtype=np.int64, shape=out)
