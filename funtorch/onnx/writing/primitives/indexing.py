"""gather and scatter: by one running index into the indexed dimensions, laid side by side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funtorch.onnx.writing.primitives.reductions import comparable
from funtorch.onnx.writing.primitives.structure import counted
from funtorch.onnx.writing.table import primitive
from funtorch.onnx.writing.values import Val, is_one


class _Places:
    """What both have in common: an index [batch..., window...] into the indexed dimensions.

    indexed: operand dimensions that are indexed (in order), batch ones too; rest: those that come
    whole. index: int64 over the batch dimensions and over the partial windows, which become batch
    dimensions; inside: where it is in range (None: everywhere).
    """

    def __init__(
        self, g: Any, shape: Any, indices: Val, sizes: Any, index_map: Any, batching: Any,
        batching_of_indices: Any, mode: Any,
    ) -> None:  # fmt: skip
        self.g, self.shape = g, shape
        self.indexed = sorted({*index_map, *batching})
        self.rest = [d for d in range(len(shape)) if d not in self.indexed]
        partial = [d for d in self.rest if not _equal(sizes[d], shape[d])]
        self.indexed = sorted({*self.indexed, *partial})
        self.rest = [d for d in self.rest if d not in partial]
        self.sizes = sizes
        batch_shape = indices.shape[:-1]  # type: ignore[index]
        self.batch = len(batch_shape)
        self.wide = [d for d in self.indexed if not is_one(sizes[d])]
        rank = self.batch + len(self.wide)
        self.batch_shape = (*batch_shape, *(sizes[d] for d in self.wide))
        parts = {}
        for d in self.indexed:
            part = None
            if d in index_map:
                part = self._column(indices, index_map.index(d), rank)
            elif d in batching:
                axis = batching_of_indices[batching.index(d)]
                part = self._counting(shape[d], axis, rank)
            parts[d] = part
        self.inside: Val | None = None
        index: Val | None = None
        for d in self.indexed:
            part = self._limited(parts[d], d, mode) if d in index_map else parts[d]
            if d in self.wide:
                step = self._counting(sizes[d], self.batch + self.wide.index(d), rank)
                part = step if part is None else g.op("Add", part, step)
            elif part is None:
                part = g.const(np.zeros((1,) * rank, np.int64))
            if index is None:
                index = part
            else:
                index = g.op("Add", g.op("Mul", index, g.number(shape[d])), part)
        self.index = index

    def _column(self, indices: Val, column: int, rank: int) -> Val:
        g, last = self.g, indices.ndim - 1
        if is_one(indices.shape[last]):  # type: ignore[index]
            one = g.squeeze(indices, [last])
        else:
            shape = indices.shape[:-1]  # type: ignore[index]
            one = g.op("Gather", indices, g.const(column, np.int64), axis=last, shape=shape)
        one = g.cast(one, np.int64)
        return g.unsqueeze(one, range(self.batch, rank))  # type: ignore[no-any-return]

    def _counting(self, n: Any, axis: int, rank: int) -> Val:
        others = [i for i in range(rank) if i != axis]
        return self.g.unsqueeze(counted(self.g, n), others)  # type: ignore[no-any-return]

    def _limited(self, part: Val, d: int, mode: Any) -> Val:
        """Starts in range: moved inside, or marked as outside."""
        g, last = self.g, self.shape[d] - self.sizes[d]
        name = str(mode).rsplit(".", 1)[-1]
        if "PROMISE" in name or _known_inside(part, last):
            return part
        low, high = g.const(0, np.int64), g.number(last)
        if "CLIP" not in name:
            inside = g.op("And", g.op("GreaterOrEqual", part, low), g.op("LessOrEqual", part, high))
            self.inside = inside if self.inside is None else g.op("And", self.inside, inside)
        return g.op("Min", g.op("Max", part, low), high)  # type: ignore[no-any-return]

    def flat(self, x: Val) -> Val:
        """The operand with its indexed dimensions laid into one in front: [P, rest...]."""
        moved = self.g.transpose(x, [*self.indexed, *self.rest])
        return self.g.reshape(moved, (self.total(), *(self.shape[d] for d in self.rest)))  # type: ignore[no-any-return]

    def total(self) -> Any:
        """How many places there are."""
        return math.prod(self.shape[d] for d in self.indexed)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b)


def _known_inside(part: Val, last: Any) -> bool:
    if part.array is None or not isinstance(last, int):
        return False
    return bool(((part.array >= 0) & (part.array <= last)).all())


@primitive("gather")
def gather(g: Any, eqn: Any, x: Val, indices: Val) -> Any:
    numbers = eqn.params["dimension_numbers"]
    sizes = eqn.params["slice_sizes"]
    out = tuple(eqn.outvars[0].aval.shape)
    collapsed = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    places = _Places(
        g, x.shape, indices, sizes, list(numbers.start_index_map),
        list(numbers.operand_batching_dims), list(numbers.start_indices_batching_dims),
        eqn.params["mode"],
    )  # fmt: skip
    if places.index is None:  # nothing is indexed
        found = x
        batch: list[Any] = []
    else:
        index = g.full(places.index.broadcast(places.batch_shape)
                       if places.index.shape != places.batch_shape else places.index)  # fmt: skip
        rest = tuple(x.shape[d] for d in places.rest)  # type: ignore[index]
        found = g.op("Gather", places.flat(x), index, axis=0, shape=(*places.batch_shape, *rest))
        if places.inside is not None:
            lifted = g.unsqueeze(places.inside, range(places.inside.ndim, found.ndim))
            found = g.where(lifted, found, _filling(g, eqn.params["fill_value"], x.dtype))
        batch = list(range(places.batch))
    # Now: batch dimensions, partial windows, whole windows. Into the order of the result.
    windows = [d for d in range(x.ndim) if d not in collapsed]
    at = {d: places.batch + i for i, d in enumerate(places.wide)}
    at.update({d: places.batch + len(places.wide) + i for i, d in enumerate(places.rest)})
    ones = [d for d in windows if d not in at]  # windows of size 1, which the index has eaten
    order: list[int | None] = [None] * len(out)
    for position, d in zip(numbers.offset_dims, windows, strict=True):
        order[position] = -1 if d in ones else at[d]
    free = iter(batch)
    order = [next(free) if o is None else o for o in order]
    moved = g.transpose(found, [o for o in order if o != -1])
    return g.unsqueeze(moved, [i for i, o in enumerate(order) if o == -1])


def _filling(g: Any, value: Any, dtype: Any) -> Val:
    if value is None:
        kind = np.dtype(dtype).kind
        value = np.nan if kind in "fV" else 0
        if kind in "iu":
            value = np.iinfo(dtype).min if kind == "i" else np.iinfo(dtype).max
        if kind == "b":
            value = True
    return g.const(np.asarray(value).astype(dtype))  # type: ignore[no-any-return]


_REDUCTIONS = {
    "scatter": "none", "scatter-add": "add", "scatter_add": "add", "scatter-mul": "mul",
    "scatter_mul": "mul", "scatter-min": "min", "scatter_min": "min", "scatter-max": "max",
    "scatter_max": "max", "scatter-sub": "add",
}  # fmt: skip


@primitive(*_REDUCTIONS)
def scatter(g: Any, eqn: Any, x: Val, indices: Val, updates: Val) -> Any:
    numbers = eqn.params["dimension_numbers"]
    if eqn.primitive.name == "scatter-sub":
        updates = g.op("Neg", updates)
    shape: Any = x.shape
    inserted = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    windows = [d for d in range(x.ndim) if d not in inserted]
    sizes: list[Any] = [1] * x.ndim
    for position, d in zip(numbers.update_window_dims, windows, strict=True):
        sizes[d] = updates.shape[position]  # type: ignore[index]
    places = _Places(
        g, shape, indices, sizes, list(numbers.scatter_dims_to_operand_dims),
        list(numbers.operand_batching_dims), list(numbers.scatter_indices_batching_dims),
        eqn.params["mode"],
    )  # fmt: skip
    at = dict(zip(windows, numbers.update_window_dims, strict=True))
    batch = [i for i in range(updates.ndim) if i not in numbers.update_window_dims]
    ones = [at[d] for d in windows if d in places.indexed and d not in places.wide]
    order = [*batch, *(at[d] for d in places.wide), *(at[d] for d in places.rest), *ones]
    moved = g.transpose(updates, order)
    moved = g.squeeze(moved, range(moved.ndim - len(ones), moved.ndim))
    how, kind = _REDUCTIONS[eqn.primitive.name], x.dtype
    if how != "none":
        x, moved = comparable(g, x), comparable(g, moved)
    made = g.cast(_scattered(g, places, x, moved, how), kind)
    # Back from [P, rest...] to the order of the operand.
    side = [*places.indexed, *places.rest]
    apart = g.reshape(made, tuple(shape[d] for d in side))
    return g.transpose(apart, [side.index(d) for d in range(x.ndim)])


def _scattered(g: Any, places: _Places, x: Val, updates: Val, how: str) -> Val:
    if places.index is None:
        ops = {"add": "Add", "mul": "Mul", "min": "Min", "max": "Max"}
        return updates if how == "none" else g.op(ops[how], x, updates)  # type: ignore[no-any-return]
    flat, index, total = places.flat(x), places.index, places.total()
    if places.inside is not None:  # a row at the end takes what goes nowhere
        index = g.where(places.inside, index, g.number(total))
        spare = g.op("Pad", flat, g.ints([0, 1]), None, g.ints([0]),
                     shape=(total + 1, *flat.shape[1:]))  # fmt: skip
    else:
        spare = flat
    if index.shape != places.batch_shape:
        index = index.broadcast(places.batch_shape)
    at = g.unsqueeze(g.full(index), [len(places.batch_shape)])
    extra = {} if how == "none" else {"reduction": how}
    made = g.op("ScatterND", spare, at, updates, shape=spare.shape, **extra)
    if places.inside is not None:
        made = g.slice(made, 0, 0, -1, size=total)
    return made  # type: ignore[no-any-return]
