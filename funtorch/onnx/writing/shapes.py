"""Rules of views, joins, casts and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val, is_one

_INT_MAX = np.iinfo(np.int64).max
_INT_MIN = np.iinfo(np.int64).min


@rule("view")
def view(g: Any, self: Val, shape: Any) -> Any:
    return g.reshape(self, shape)


@rule("permute", "transpose", "t")
def permute(g: Any, self: Val, order: Any) -> Any:
    return g.transpose(self, order)


@rule("unsqueeze")
def unsqueeze(g: Any, self: Val, dim: int) -> Any:
    return g.unsqueeze(self, [dim])


@rule("squeeze")
def squeeze(g: Any, self: Val, dims: Any) -> Any:
    return g.squeeze(self, list(dims) if isinstance(dims, tuple) else [dims])


@rule("expand")
def expand(g: Any, self: Val, shape: Any) -> Any:
    return broadcast(g, self, tuple(shape))


def broadcast(g: Any, x: Val, shape: Any) -> Val:
    """Broadcast as late as possible: most readers do so by themselves."""
    lifted = g.unsqueeze(x, list(range(len(shape) - x.ndim)))
    return lifted if lifted.shape == shape else lifted.broadcast(shape)  # type: ignore[no-any-return]


@rule("select")
def select(g: Any, self: Val, index: Any, dim: int) -> Any:
    if self.partial and is_one(self.held[dim]):  # type: ignore[index]
        one = self.broadcast((*self.shape[:dim], 1, *self.shape[dim + 1 :]))  # type: ignore[index]
        one.held = self.held
        return g.squeeze(one, [dim])
    shape = (*self.shape[:dim], *self.shape[dim + 1 :])  # type: ignore[index]
    return g.op("Gather", self, g.number(index), axis=dim, shape=shape)


@rule("slice")
def slice_(g: Any, self: Val, start: Any, dim: int, length: Any, step: Any) -> Any:
    size = self.shape[dim]  # type: ignore[index]
    if isinstance(start, int) and start == 0 and step == 1 and length == size:
        return self
    stop = start + length * step
    # The largest number there is says "to the end", so that no size is computed.
    to_end = (
        isinstance(start, int)
        and isinstance(step, int)
        and (length == (size - start + step - 1) // step)
    )
    return g.slice(self, dim, start, _INT_MAX if to_end else stop, step, size=length)


@rule("alias", "_clone", "conj", "conj_physical", "real")
def unchanged(g: Any, self: Val) -> Any:
    return self


@rule("_cast")
def cast(g: Any, self: Val, dtype: Any) -> Any:
    return g.cast(self, dtype)


@rule("_copied")
def copied(g: Any, self: Val, src: Val) -> Any:
    return broadcast(g, g.cast(src, self.dtype), self.shape)


@rule("_filled")
def filled(g: Any, self: Val, value: Any) -> Any:
    value = g.cast(value, self.dtype) if isinstance(value, Val) else g.const(value, self.dtype)
    return broadcast(g, value, self.shape)


@rule("_zeroed")
def zeroed(g: Any, self: Val) -> Any:
    return broadcast(g, g.const(0, self.dtype), self.shape)


@rule("cat")
def cat(g: Any, tensors: Sequence[Val], dim: int) -> Any:
    real = [t for t in tensors if t.shape != (0,)]
    if not real:
        return tensors[0]
    return g.concat(real, dim % real[0].ndim)


@rule("stack")
def stack(g: Any, tensors: Sequence[Val], dim: int) -> Any:
    axis = dim % (tensors[0].ndim + 1)
    return g.concat([g.unsqueeze(t, [axis]) for t in tensors], axis)


@rule("flip")
def flip(g: Any, self: Val, dims: Any) -> Any:
    axes = [d % self.ndim for d in dims]
    return reversed_along(g, self, axes) if axes else self


def reversed_along(g: Any, x: Val, axes: Sequence[int]) -> Any:
    """Elements in the opposite order along these axes."""
    n = len(axes)
    ends = [g.ints([-1] * n), g.ints([_INT_MIN] * n), g.ints(axes), g.ints([-1] * n)]
    return g.op("Slice", x, *ends, shape=x.shape)


@rule("repeat", "tile")
def repeat(g: Any, self: Val, repeats: Any) -> Any:
    repeats = (repeats,) if isinstance(repeats, int) else tuple(repeats)
    lifted = g.unsqueeze(self, list(range(len(repeats) - self.ndim)))
    repeats = (*([1] * (lifted.ndim - len(repeats))), *repeats)
    shape = tuple(n * r for n, r in zip(lifted.shape, repeats, strict=True))
    return g.op("Tile", lifted, g.shape(repeats), shape=shape)


@rule("full")
def full(g: Any, value: Any, shape: Any, dtype: Any) -> Any:
    array = np.asarray(value).astype(np.dtype(dtype)).reshape([1] * len(shape))
    return g.const(array).broadcast(tuple(shape))


@rule("arange")
def arange(g: Any, start: Any, step: Any, length: Any, dtype: Any, compute: Any) -> Any:
    if isinstance(length, int) and length <= 1024:
        kind = np.dtype(compute)
        return g.const((kind.type(start) + np.arange(length).astype(kind) * kind.type(step))
                       .astype(np.dtype(dtype)))  # fmt: skip
    if not all(isinstance(n, int) for n in (start, step)) or np.dtype(dtype).kind not in "iu":
        return NotImplemented
    counted = g.op(
        "Range", g.number(start), g.number(start + length * step), g.number(step), shape=(length,)
    )
    return g.cast(counted, dtype)


@rule("tril", "triu")
def triangle(g: Any, self: Val, diagonal: int) -> Any:
    upper = int(g.inst.op.name == "triu")
    return g.op("Trilu", self, g.const(diagonal, np.int64), upper=upper, shape=self.shape)
