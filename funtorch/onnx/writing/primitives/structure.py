"""Primitives that move elements about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch.onnx.writing.shapes import reversed_along
from funtorch.onnx.writing.table import NoRule, primitive
from funtorch.onnx.writing.values import Val, is_one


@primitive("broadcast_in_dim")
def broadcast_in_dim(g: Any, eqn: Any, x: Val, *_: Any) -> Any:
    shape = tuple(eqn.params["shape"])
    dims = eqn.params["broadcast_dimensions"]
    new = [i for i in range(len(shape)) if i not in dims]
    lifted = g.unsqueeze(x, new)
    return lifted if lifted.shape == shape else lifted.broadcast(shape)


@primitive("reshape")
def reshape(g: Any, eqn: Any, x: Val, *_: Any) -> Any:
    return g.reshape(x, eqn.params["new_sizes"])


@primitive("transpose")
def transpose(g: Any, eqn: Any, x: Val) -> Any:
    return g.transpose(x, eqn.params["permutation"])


@primitive("squeeze")
def squeeze(g: Any, eqn: Any, x: Val) -> Any:
    return g.squeeze(x, eqn.params["dimensions"])


@primitive("expand_dims")
def expand_dims(g: Any, eqn: Any, x: Val) -> Any:
    return g.unsqueeze(x, eqn.params["dimensions"])


@primitive("rev")
def rev(g: Any, eqn: Any, x: Val) -> Any:
    return reversed_along(g, x, eqn.params["dimensions"])


@primitive("concatenate")
def concatenate(g: Any, eqn: Any, *xs: Val) -> Any:
    return g.concat(xs, eqn.params["dimension"])


@primitive("empty", "empty2")
def empty(g: Any, eqn: Any, *_: Any) -> Any:
    aval = eqn.outvars[0].aval
    return g.const(np.zeros([1] * len(aval.shape), aval.dtype)).broadcast(tuple(aval.shape))


@primitive("stack")
def stack(g: Any, eqn: Any, *xs: Val) -> Any:
    axis = eqn.params["axis"]
    return g.concat([g.unsqueeze(x, [axis]) for x in xs], axis)


@primitive("unstack")
def unstack(g: Any, eqn: Any, x: Val) -> Any:
    axis = eqn.params["axis"]
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])  # type: ignore[index]
    return [
        g.op("Gather", x, g.const(i, np.int64), axis=axis, shape=shape)
        for i in range(len(eqn.outvars))
    ]


@primitive("iota")
def iota(g: Any, eqn: Any, *_: Any) -> Any:
    shape, axis = eqn.params["shape"], eqn.params["dimension"]
    count = counted(g, shape[axis], eqn.params["dtype"])
    lifted = g.unsqueeze(count, [i for i in range(len(shape)) if i != axis])
    return lifted if lifted.shape == tuple(shape) else lifted.broadcast(tuple(shape))


def counted(g: Any, n: Any, dtype: Any = np.int64) -> Val:
    """0, 1, ..., n - 1."""
    if isinstance(n, int) and n <= 1024:
        return g.const(np.arange(n, dtype=dtype))  # type: ignore[no-any-return]
    whole = g.op("Range", g.number(0), g.number(n), g.number(1), shape=(n,))
    return g.cast(whole, dtype)  # type: ignore[no-any-return]


@primitive("slice")
def slice_(g: Any, eqn: Any, x: Val) -> Any:
    starts, limits = eqn.params["start_indices"], eqn.params["limit_indices"]
    strides = eqn.params["strides"] or (1,) * len(starts)
    out = eqn.outvars[0].aval.shape
    return sliced(g, x, starts, limits, strides, out)


def sliced(g: Any, x: Val, starts: Any, limits: Any, strides: Any, out: Any) -> Val:
    """x[start:limit:stride, ...] with sizes `out`; axes that stay whole are left out."""
    assert x.shape is not None and x.held is not None
    axes = [
        i for i, (a, b, s) in enumerate(zip(starts, limits, strides, strict=True))
        if not (isinstance(a, int) and a == 0 and s == 1 and b == x.shape[i])
    ]  # fmt: skip
    if x.partial and all(is_one(x.held[i]) for i in axes):
        return x.broadcast(tuple(out))
    if not axes:
        return x
    bounds = [g.shape([v[i] for i in axes]) for v in (starts, limits)]
    steps = g.ints([strides[i] for i in axes])
    return g.op("Slice", x, *bounds, g.ints(axes), steps, shape=tuple(out))  # type: ignore[no-any-return]


def _starts(g: Any, x: Val, starts: Sequence[Val], sizes: Sequence[Any]) -> Val:
    """Starts of a dynamic slice as int64 [n], moved inside as XLA moves them."""
    assert x.shape is not None
    flat = []
    for start, whole, size in zip(starts, x.shape, sizes, strict=True):
        start = g.reshape(g.cast(start, np.int64), (1,))
        known = start.array
        if known is not None and isinstance(whole, int) and isinstance(size, int):
            flat.append(g.ints([min(max(int(known[0]), 0), whole - size)]))
        elif known is not None and known[0] == 0:
            flat.append(g.ints([0]))
        else:
            last = g.shape([whole - size])
            flat.append(g.op("Min", g.op("Max", start, g.ints([0])), last))
    return g.concat(flat, 0)  # type: ignore[no-any-return]


@primitive("dynamic_slice")
def dynamic_slice(g: Any, eqn: Any, x: Val, *rest: Val) -> Any:
    sizes = eqn.params["slice_sizes"]
    out = tuple(eqn.outvars[0].aval.shape)
    starts = list(rest[: x.ndim])
    assert x.shape is not None
    cut = [i for i, (n, s) in enumerate(zip(x.shape, sizes, strict=True)) if n != s]
    if not cut:
        return x
    if all(starts[i].array is not None for i in cut):
        first = [0] * x.ndim
        for i in cut:
            at = int(starts[i].array)  # type: ignore[arg-type]
            spare = x.shape[i] - sizes[i]
            first[i] = min(max(at, 0), spare) if isinstance(spare, int) else at
        last = [f + s for f, s in zip(first, sizes, strict=True)]
        return sliced(g, x, first, last, (1,) * x.ndim, out)
    if len(cut) == 1 and is_one(sizes[cut[0]]):
        at = g.index(starts[cut[0]])
        return g.op("Gather", x, g.reshape(at, (1,)), axis=cut[0], shape=out)
    begin = _starts(g, x, starts, sizes)
    end = g.op("Add", begin, g.shape(sizes))
    return g.op("Slice", x, begin, end, g.ints(range(x.ndim)), shape=out)


@primitive("dynamic_update_slice")
def dynamic_update_slice(g: Any, eqn: Any, x: Val, update: Val, *starts: Val) -> Any:
    """Along one axis: what is before, the update, what is behind; along several, one by one."""
    assert x.shape is not None and update.shape is not None
    cut = [i for i, (n, s) in enumerate(zip(x.shape, update.shape, strict=True)) if n != s]
    if not cut:
        return update
    begin = _starts(g, x, starts[: x.ndim], update.shape)
    return _updated(g, x, update, begin, cut)


def _updated(g: Any, x: Val, update: Val, begin: Val, cut: Sequence[int]) -> Val:
    axis, *rest = cut
    start = g.slice(begin, 0, axis, axis + 1, size=1) if begin.array is None else g.ints(
        [int(begin.array[axis])])  # fmt: skip
    size = update.shape[axis]  # type: ignore[index]
    stop = g.op("Add", start, g.shape([size]))
    if rest:
        row = g.slice(x, axis, start, stop, size=size)
        update = _updated(g, row, update, begin, rest)
    parts = []
    known = None if start.array is None else int(start.array[0])
    if known != 0:
        parts.append(g.slice(x, axis, g.ints([0]), start, size=known))
    parts.append(update)
    whole = x.shape[axis]  # type: ignore[index]
    last = None if known is None or not isinstance(size, int) else known + size
    if last is None or last != whole:
        left = whole - last if last is not None else None
        parts.append(g.slice(x, axis, stop, np.iinfo(np.int64).max, size=left))
    if any(p.shape is None or None in p.shape for p in parts):
        return g.op("Concat", *parts, axis=axis, shape=x.shape)  # type: ignore[no-any-return]
    made = g.concat(parts, axis)
    made.shape = made.held = x.shape
    return made  # type: ignore[no-any-return]


@primitive("pad")
def pad(g: Any, eqn: Any, x: Val, value: Val) -> Any:
    return padded(g, x, value, eqn.params["padding_config"], eqn.outvars[0].aval.shape)


def padded(g: Any, x: Val, value: Val, config: Any, out: Any) -> Val:
    """config: (before, after, between) for each axis; negative ones cut away."""
    assert x.shape is not None
    for axis, (_, _, between) in enumerate(config):
        if between:
            x = _spread(g, x, value, axis, between)
    shape: Any = x.shape
    cuts = [(_minus(low), _minus(high)) for low, high, _ in config]
    if any(low or high for low, high in cuts):
        starts = [low for low, _ in cuts]
        limits = [n - high for n, (_, high) in zip(shape, cuts, strict=True)]
        left = tuple(b - a for a, b in zip(starts, limits, strict=True))
        x = sliced(g, x, starts, limits, (1,) * len(starts), left)
    adds = [(_plus(low), _plus(high)) for low, high, _ in config]
    axes = [i for i, (low, high) in enumerate(adds) if not (_zero(low) and _zero(high))]
    if not axes:
        return x
    widths = [adds[i][0] for i in axes] + [adds[i][1] for i in axes]
    if np.dtype(x.dtype) == np.bool_:
        number = g.cast(value, np.int32)
        made = g.op("Pad", g.cast(x, np.int32), g.shape(widths), number, g.ints(axes),
                    shape=tuple(out))  # fmt: skip
        return g.cast(made, np.bool_)  # type: ignore[no-any-return]
    return g.op("Pad", x, g.shape(widths), value, g.ints(axes), shape=tuple(out))  # type: ignore[no-any-return]


def _zero(n: Any) -> bool:
    return isinstance(n, int) and n == 0


def _minus(n: Any) -> Any:
    return -n if isinstance(n, int) and n < 0 else 0


def _plus(n: Any) -> Any:
    return n if not isinstance(n, int) or n > 0 else 0


def _spread(g: Any, x: Val, value: Val, axis: int, between: int) -> Val:
    """`between` times the value after each element, none after the last."""
    shape: Any = x.shape
    n = shape[axis]
    apart = g.unsqueeze(x, [axis + 1])
    one = (*shape[: axis + 1], 1 + between, *shape[axis + 1 :])
    wide = g.op("Pad", apart, g.ints([0, between]), value, g.ints([axis + 1]), shape=one)
    flat = g.reshape(wide, (*shape[:axis], n * (1 + between), *shape[axis + 1 :]))
    size = n * (1 + between) - between
    return g.slice(flat, axis, 0, -between, size=size)  # type: ignore[no-any-return]


@primitive("split")
def split(g: Any, eqn: Any, x: Val) -> Any:
    sizes, axis = eqn.params["sizes"], eqn.params["axis"]
    outs = g.op("Split", x, g.shape(sizes), n=len(sizes), axis=axis)
    outs = outs if isinstance(outs, tuple) else (outs,)
    for out, var in zip(outs, eqn.outvars, strict=True):
        out.shape = out.held = tuple(var.aval.shape)
    return list(outs)


@primitive("dim_as_value")
def dim_as_value(g: Any, eqn: Any, *_: Any) -> Any:
    return g.number(eqn.params["dim"], eqn.outvars[0].aval.dtype)


@primitive("tile")
def tile(g: Any, eqn: Any, x: Val) -> Any:
    out = tuple(eqn.outvars[0].aval.shape)
    return g.op("Tile", x, g.shape(eqn.params["reps"]), shape=out)


@primitive("bitcast_convert_type")
def bitcast_convert_type(g: Any, eqn: Any, x: Val) -> Any:
    if g.opset < 26 or x.dtype.itemsize != np.dtype(eqn.params["new_dtype"]).itemsize:
        raise NoRule("ONNX reads no bits as another type before opset 26")
    return g.op("BitCast", x, to=eqn.params["new_dtype"], dtype=eqn.params["new_dtype"])
