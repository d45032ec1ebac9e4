"""Reductions, running reductions, sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.onnx.writing.table import NoRule, primitive
from funtorch.onnx.writing.values import Block, Val

_RUNTIME = ("float32", "float64", "int32", "int64")


def _reduction(name: str, kind: str) -> None:
    @primitive(name)
    def write(g: Any, eqn: Any, x: Val) -> Any:
        return reduced(g, kind, x, eqn.params["axes"])


def reduced(g: Any, kind: str, x: Val, axes: Any, keep: bool = False) -> Val:
    """A reduction in a type that reductions are there for."""
    small = x.dtype.kind in "iu" and x.dtype.name not in _RUNTIME
    if not small:
        return g.reduce(kind, x, axes, keep)  # type: ignore[no-any-return]
    return g.cast(g.reduce(kind, g.cast(x, np.int64), axes, keep), x.dtype)  # type: ignore[no-any-return]


for _name, _kind in (
    ("reduce_sum", "ReduceSum"), ("reduce_max", "ReduceMax"), ("reduce_min", "ReduceMin"),
    ("reduce_prod", "ReduceProd"),
):  # fmt: skip
    _reduction(_name, _kind)


def _truth(name: str, kind: str) -> None:
    @primitive(name)
    def write(g: Any, eqn: Any, x: Val) -> Any:
        if x.dtype != np.bool_:
            raise NoRule("bits are reduced for truth values only")
        made = g.reduce(kind, g.cast(x, np.int32), eqn.params["axes"], False)
        return g.cast(made, np.bool_)


_truth("reduce_and", "ReduceMin")
_truth("reduce_or", "ReduceMax")


@primitive("reduce_xor")
def reduce_xor(g: Any, eqn: Any, x: Val) -> Any:
    if x.dtype != np.bool_:
        raise NoRule("bits are reduced for truth values only")
    total = g.reduce("ReduceSum", g.cast(x, np.int32), eqn.params["axes"], False)
    return g.cast(g.op("Mod", total, g.const(2, np.int32)), np.bool_)


def _argument(name: str, kind: str) -> None:
    @primitive(name)
    def write(g: Any, eqn: Any, x: Val) -> Any:
        (axis,) = eqn.params["axes"]
        made = g.op(
            kind, comparable(g, x), axis=axis, keepdims=0, dtype=np.int64,
            shape=tuple(eqn.outvars[0].aval.shape),
        )  # fmt: skip
        return g.cast(made, eqn.params["index_dtype"])


_argument("argmax", "ArgMax")
_argument("argmin", "ArgMin")


def comparable(g: Any, x: Val) -> Val:
    """Truth values and small integers as int32, which everything can order."""
    small = x.dtype == np.bool_ or (x.dtype.kind in "iu" and x.dtype.itemsize < 4)
    return g.cast(x, np.int32) if small else x  # type: ignore[no-any-return]


# Running reductions ---------------------------------------------------------------------------


@primitive("cumsum")
def cumsum(g: Any, eqn: Any, x: Val) -> Any:
    axis, reverse = eqn.params["axis"], eqn.params["reverse"]
    wide = x if (x.dtype.kind == "f" and x.dtype.itemsize > 2) or x.dtype.name in _RUNTIME else g.cast(
        x, np.int64 if x.dtype.kind in "iu" else np.float32)  # fmt: skip
    made = g.op("CumSum", wide, g.const(axis, np.int64), reverse=int(reverse), shape=x.shape)
    return g.cast(made, x.dtype)


def _running(name: str, step: Any) -> None:
    @primitive(name)
    def write(g: Any, eqn: Any, x: Val) -> Any:
        axis, reverse = eqn.params["axis"], int(eqn.params["reverse"])
        return running(g, x, axis, reverse, step)


def running(g: Any, x: Val, axis: int, reverse: int, step: Any) -> Val:
    """step(total, element) along an axis, from its first element on: a Scan."""
    front = [axis, *(d for d in range(x.ndim) if d != axis)]
    moved = g.transpose(x, front)
    n, *rest = moved.shape
    if isinstance(n, int) and n < 2:
        return x
    first = g.op("Gather", moved, g.const(-reverse, np.int64), axis=0, shape=tuple(rest))
    body = Block(g.block)
    total = g.value("total", x.dtype, tuple(rest))
    element = g.value("element", x.dtype, tuple(rest))
    body.inputs = [total, element]
    with g.within(body):
        new = step(g, total, element)
        body.outputs = [g.op("Identity", new, shape=tuple(rest)) for _ in range(2)]
    bounds = (0, -1) if reverse else (1, np.iinfo(np.int64).max)
    others = g.slice(moved, 0, *bounds, size=n - 1)
    _, found = g.op(
        "Scan",
        first,
        others,
        n=2,
        dtype=x.dtype,
        body=body,
        num_scan_inputs=1,
        scan_input_directions=[reverse],
        scan_output_directions=[reverse],
    )
    found.shape = found.held = others.shape
    parts = [g.unsqueeze(first, [0]), found]
    made = g.concat(parts[::-1] if reverse else parts, 0)
    made.shape = made.held = moved.shape
    return g.transpose(made, np.argsort(front))  # type: ignore[no-any-return]


def _log_sum(g: Any, a: Val, b: Val) -> Val:
    top = g.op("Max", a, b)
    total = g.op("Add", g.op("Exp", g.op("Sub", a, top)), g.op("Exp", g.op("Sub", b, top)))
    return g.op("Add", g.op("Log", total), top)  # type: ignore[no-any-return]


_running("cumprod", lambda g, a, b: g.op("Mul", a, b))
_running("cummax", lambda g, a, b: g.op("Max", a, b))
_running("cummin", lambda g, a, b: g.op("Min", a, b))
_running("cumlogsumexp", _log_sum)


# Sorting --------------------------------------------------------------------------------------


@primitive("sort")
def sort(g: Any, eqn: Any, *xs: Val) -> Any:
    """Stable, as TopK is: of equal elements the first comes first."""
    if eqn.params["num_keys"] != 1:
        raise NoRule("sorting by more than one key")
    axis = eqn.params["dimension"]
    assert xs[0].shape is not None
    _, order = ordered(g, xs[0], xs[0].shape[axis], axis, largest=0, sorted=1)
    order.shape = order.held = xs[0].shape
    return [g.op("GatherElements", x, order, axis=axis, shape=x.shape) for x in xs]


def ordered(g: Any, x: Val, count: Any, axis: int, **options: int) -> tuple[Val, Val]:
    """TopK in which NaN is larger than infinity, as it is to PyTorch: (keys, places)."""
    key = comparable(g, x)
    if key.dtype.name == "bfloat16":
        key = g.cast(key, np.float32)
    if key.dtype.kind == "f":
        bounded = g.op("Min", key, g.const(np.finfo(key.dtype).max, key.dtype))
        key = g.where(g.op("IsNaN", key), g.const(np.inf, key.dtype), bounded)
    keys, order = g.op("TopK", key, g.shape([count]), n=2, axis=axis, **options)
    order.dtype = np.dtype(np.int64)
    return keys, order


@primitive("top_k")
def top_k(g: Any, eqn: Any, x: Val) -> Any:
    axis = eqn.params.get("axis", x.ndim - 1)
    _, order = ordered(g, x, eqn.params["k"], axis)
    order.shape = order.held = shape = tuple(eqn.outvars[1].aval.shape)
    values = g.op("GatherElements", x, order, axis=axis, shape=shape)
    return [values, g.cast(order, eqn.outvars[1].aval.dtype)]
