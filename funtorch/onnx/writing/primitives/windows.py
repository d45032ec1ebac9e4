"""Products, convolutions and windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from funtorch.onnx.writing.lowered import translate
from funtorch.onnx.writing.primitives.structure import padded
from funtorch.onnx.writing.table import NoRule, primitive
from funtorch.onnx.writing.values import Val


@primitive("dot_general")
def dot_general(g: Any, eqn: Any, x: Val, y: Val) -> Any:
    (cx, cy), (bx, by) = eqn.params["dimension_numbers"]
    out = eqn.outvars[0].aval
    kind = np.dtype(out.dtype)
    if kind == np.bool_ or (kind.kind in "iu" and kind.itemsize < 4):
        wide = np.dtype(np.int32)
        made = product(g, g.cast(x, wide), g.cast(y, wide), cx, cy, bx, by, out.shape)
        return g.cast(made, kind)
    return product(g, g.cast(x, kind), g.cast(y, kind), cx, cy, bx, by, out.shape)


def product(g: Any, x: Val, y: Val, cx: Any, cy: Any, bx: Any, by: Any, out: Any) -> Val:
    """dot_general as one MatMul between reshapes, of which most turn out to be none."""
    fx = [d for d in range(x.ndim) if d not in (*cx, *bx)]
    fy = [d for d in range(y.ndim) if d not in (*cy, *by)]
    sx: Any = x.shape
    sy: Any = y.shape
    batch = tuple(sx[d] for d in bx)
    depth = math.prod(sx[d] for d in cx)
    rows, columns = math.prod(sx[d] for d in fx), math.prod(sy[d] for d in fy)
    left, right = g.transpose(x, [*bx, *fx, *cx]), g.transpose(y, [*by, *cy, *fy])
    if not batch and len(cx) == 1 and len(fy) == 1 and fx:
        # What is in front of the last two dimensions, MatMul takes as it is.
        return g.op("MatMul", left, right, shape=tuple(out))  # type: ignore[no-any-return]
    left, right = g.reshape(left, (*batch, rows, depth)), g.reshape(right, (*batch, depth, columns))
    made = g.op("MatMul", left, right, shape=(*batch, rows, columns))
    return g.reshape(made, out)  # type: ignore[no-any-return]


@primitive("conv_general_dilated")
def conv_general_dilated(g: Any, eqn: Any, x: Val, kernel: Val) -> Any:
    p = eqn.params
    numbers = p["dimension_numbers"]
    out = tuple(eqn.outvars[0].aval.shape)
    x, kernel = g.transpose(x, numbers.lhs_spec), g.transpose(kernel, numbers.rhs_spec)
    groups = p["feature_group_count"]
    if p["batch_group_count"] > 1:
        x = _batch_groups(g, x, p["batch_group_count"])
        groups = p["batch_group_count"]
    wanted = np.dtype(eqn.outvars[0].aval.dtype)
    kind = wanted if wanted.kind in "fV" else np.dtype(np.float64)  # Conv knows no whole numbers
    x, kernel = g.cast(x, kind), g.cast(kernel, kind)
    pads = list(p["padding"])
    if any(d != 1 for d in p["lhs_dilation"]) or any(
        not isinstance(n, int) or n < 0 for pair in pads for n in pair
    ):
        config = [(0, 0, 0), (0, 0, 0)]
        config += [(a, b, d - 1) for (a, b), d in zip(pads, p["lhs_dilation"], strict=True)]
        x = padded(g, x, g.const(0, kind), config, _padded_shape(x.shape, config))
        pads = [(0, 0)] * len(pads)
    made = g.op(
        "Conv", x, kernel, group=groups, strides=list(p["window_strides"]),
        dilations=list(p["rhs_dilation"]), pads=[a for a, _ in pads] + [b for _, b in pads],
        shape=tuple(out[d] for d in numbers.out_spec),
    )  # fmt: skip
    inverse = [numbers.out_spec.index(d) for d in range(len(out))]
    return g.cast(g.transpose(made, inverse), wanted)


def _padded_shape(shape: Any, config: Any) -> tuple[Any, ...]:
    return tuple(n + (n - 1) * d + a + b for n, (a, b, d) in zip(shape, config, strict=True))


def _batch_groups(g: Any, x: Val, groups: int) -> Val:
    """[g n, c, ...] -> [n, g c, ...]: groups of images become groups of channels."""
    n, c, *space = x.shape  # type: ignore[misc]
    apart = g.reshape(x, (groups, n // groups, c, *space))
    side = g.transpose(apart, [1, 0, *range(2, apart.ndim)])
    return g.reshape(side, (n // groups, groups * c, *space))  # type: ignore[no-any-return]


# Windows --------------------------------------------------------------------------------------

_JOINS = {
    "reduce_window_sum": ("Add", lambda dtype: 0),
    "reduce_window_max": ("Max", lambda dtype: lowest(dtype)),
    "reduce_window_min": ("Min", lambda dtype: highest(dtype)),
}


def lowest(dtype: Any) -> Any:
    """The neutral element of max."""
    return -np.inf if np.dtype(dtype).kind in "fV" else np.iinfo(dtype).min


def highest(dtype: Any) -> Any:
    """The neutral element of min."""
    return np.inf if np.dtype(dtype).kind in "fV" else np.iinfo(dtype).max


@primitive(*_JOINS)
def reduce_window(g: Any, eqn: Any, x: Val) -> Any:
    kind, neutral = _JOINS[eqn.primitive.name]
    start = g.const(neutral(x.dtype), x.dtype)
    return _windowed(g, eqn.params, [x], [start], lambda a, b: [g.op(kind, *a, *b)])


@primitive("reduce_window")
def general_reduce_window(g: Any, eqn: Any, *values: Val) -> Any:
    """Joined by a function of single numbers; of several operands (values and indices) too."""
    n = len(values) // 2
    p = eqn.params
    inner = p.get("jaxpr") or p["call_jaxpr"]
    closed = inner if hasattr(inner, "consts") else jax.extend.core.ClosedJaxpr(inner, ())

    def join(a: Sequence[Val], b: Sequence[Val]) -> list[Val]:
        return translate(g, closed, [*a, *b], elementwise=True)

    return _windowed(g, p, values[:n], values[n:], join)


def _windowed(g: Any, p: Any, xs: Sequence[Val], starts: Sequence[Val], join: Any) -> list[Val]:
    """One axis after the other: the join of as many strided slices as the window is long."""
    config = [(a, b, d - 1) for (a, b), d in zip(p["padding"], p["base_dilation"], strict=True)]
    shape = _padded_shape(xs[0].shape, config)
    now = [padded(g, x, s, config, shape) for x, s in zip(xs, starts, strict=True)]
    specs = zip(p["window_dimensions"], p["window_strides"], p["window_dilation"], strict=True)
    for axis, (window, stride, hole) in enumerate(specs):
        if window == 1 and stride == 1:
            continue
        size = now[0].shape[axis]  # type: ignore[index]
        count = (size - hole * (window - 1) - 1) // stride + 1
        made: list[Val] | None = None
        for i in range(window):
            first = i * hole
            stop = first + (count - 1) * stride + 1
            parts = [g.slice(x, axis, first, stop, stride, size=count) for x in now]
            made = parts if made is None else join(made, parts)
        assert made is not None
        now = made
    return now


@primitive("select_and_scatter_add")
def select_and_scatter_add(g: Any, eqn: Any, source: Val, x: Val) -> Any:
    """The gradient of a maximum of windows: MaxPool says where each was."""
    p = eqn.params
    if p["select_prim"].name not in ("ge", "gt"):
        raise NoRule("only the gradient of a maximum is there")
    shape: Any = x.shape
    space = [
        i for i, (w, s) in enumerate(zip(p["window_dimensions"], p["window_strides"], strict=True))
        if w != 1 or s != 1
    ]  # fmt: skip
    first = min(space, default=x.ndim - 1)
    lead = math.prod(shape[:first])
    pads: Sequence[Any] = p["padding"][first:]
    image = g.reshape(x, (1, lead, *shape[first:]))
    pooled, index = g.op(
        "MaxPool", image, n=2, kernel_shape=list(p["window_dimensions"][first:]),
        strides=list(p["window_strides"][first:]),
        pads=[a for a, _ in pads] + [b for _, b in pads],
    )  # fmt: skip
    index.dtype = np.dtype(np.int64)
    pooled.shape = pooled.held = index.shape = index.held = (1, lead, *source.shape[first:])  # type: ignore[index]
    total = math.prod(shape)
    zeros = g.full(g.const([0], x.dtype).broadcast((total,)))
    count = math.prod(source.shape)  # type: ignore[arg-type]
    made = g.op(
        "ScatterElements", zeros, g.reshape(index, (count,)), g.reshape(source, (count,)),
        axis=0, reduction="add", shape=(total,),
    )  # fmt: skip
    return g.reshape(made, shape)
