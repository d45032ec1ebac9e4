"""Arithmetic on shapes: ops whose inputs are all known on the host are computed there."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from funtorch.onnx.narrow import cast_on_host
from funtorch.onnx.rules import HOST, ints

Host = np.ndarray[Any, Any]
_MANY = 4096


def host(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function of arrays; it also gets `opset`."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        HOST.update(dict.fromkeys(names, fn))
        return fn

    return decorate


def _simple(name: str, fn: Callable[..., Any]) -> None:
    def apply(*inputs: Host, opset: int, **_: Any) -> Host:
        return np.asarray(fn(*inputs))

    HOST[name] = apply


for _name, _fn in {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Neg": np.negative, "Abs": np.abs,
    "And": np.logical_and, "Or": np.logical_or, "Not": np.logical_not, "Equal": np.equal,
    "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Less": np.less,
    "LessOrEqual": np.less_equal, "Where": np.where, "Floor": np.floor, "Ceil": np.ceil,
    "Max": lambda *v: reduce(np.maximum, v), "Min": lambda *v: reduce(np.minimum, v),
    "Identity": lambda x: x, "Sqrt": np.sqrt, "Relu": lambda x: np.maximum(x, 0),
    "Size": lambda x: np.int64(x.size),
    "Range": lambda *v: np.arange(*(a.reshape(()) for a in v)).astype(v[0].dtype),
    "Div": lambda a, b: a // b if a.dtype.kind in "iu" and (a >= 0).all() else _divide(a, b),
}.items():  # fmt: skip
    _simple(_name, _fn)


def _divide(a: Host, b: Host) -> Host:
    if a.dtype.kind in "iu":
        return np.trunc(a / b).astype(a.dtype)
    return a / b


@host("Mod")
def mod(a: Host, b: Host, *, opset: int, fmod: int = 0) -> Host:
    """Remainder."""
    return np.asarray(np.fmod(a, b) if fmod else np.mod(a, b))


@host("Cast")
def cast(x: Host, *, opset: int, to: int, saturate: int = 1, round_mode: str = "up") -> Host:
    """x as another type."""
    name = "str" if to == 8 else np.dtype(tensor_dtype_to_np_dtype(to)).name
    return np.asarray(cast_on_host(x, name, bool(saturate), round_mode))


@host("Shape")
def shape(x: Host, *, opset: int, start: int = 0, end: int | None = None) -> Host:
    """The extents of x."""
    return np.array(x.shape[start:end], np.int64)


@host("Gather")
def gather(x: Host, indices: Host, *, opset: int, axis: int = 0) -> Host:
    """Slices of x at these indices."""
    return np.asarray(np.take(x, indices.astype(np.int64), axis))


@host("Concat")
def concat(*parts: Host, opset: int, axis: int = 1) -> Host:
    """The inputs one after the other."""
    return np.concatenate(parts, axis)


@host("Split")
def split(
    x: Host, sizes: Host | None = None, *, opset: int, axis: int = 0, split: Any = None,
    num_outputs: int | None = None,
) -> Any:  # fmt: skip
    """Parts of x along an axis."""
    parts = ints(split if sizes is None else sizes)
    if not parts:
        if num_outputs is None:
            return NotImplemented  # how many parts there are, only the node's outputs say
        each = -(-x.shape[axis] // num_outputs)
        parts = (each,) * num_outputs
    return tuple(np.split(x, np.cumsum(parts)[:-1], axis))


@host("Unsqueeze")
def unsqueeze(x: Host, axes_input: Host | None = None, *, opset: int, axes: Any = None) -> Host:
    """Extents of one put in."""
    where = ints(axes if axes_input is None else axes_input)
    return np.expand_dims(x, where)


@host("Squeeze")
def squeeze(x: Host, axes_input: Host | None = None, *, opset: int, axes: Any = None) -> Host:
    """Extents of one taken out."""
    given = axes if axes_input is None else axes_input
    return np.squeeze(x) if given is None else np.squeeze(x, ints(given))


@host("Reshape")
def reshape(
    x: Host, target: Host | None = None, *, opset: int, shape: Any = None, allowzero: int = 0
) -> Host:
    """x with another shape."""
    wanted = list(ints(shape if target is None else target))
    if not allowzero:
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


@host("Slice")
def slice_(x: Host, *bounds: Host, opset: int, starts: Any = None, ends: Any = None,
           axes: Any = None) -> Host:  # fmt: skip
    """Part of x."""
    if bounds:
        starts, ends = bounds[:2]
        axes = bounds[2] if len(bounds) > 2 else None
    steps = ints(bounds[3]) if len(bounds) > 3 else (1,) * len(ints(starts))
    where = ints(axes) if axes is not None else range(len(ints(starts)))
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(where, ints(starts), ints(ends), steps, strict=True):
        backwards_past = step < 0 and end < -x.shape[axis]
        index[axis] = slice(start, None if backwards_past else end, step)
    return x[tuple(index)]


@host("Transpose")
def transpose(x: Host, *, opset: int, perm: Any = None) -> Host:
    """Dimensions in another order."""
    return np.transpose(x, perm)


@host("Expand")
def expand(x: Host, shape: Host, *, opset: int) -> Host:
    """x broadcast with a shape."""
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, ints(shape)))


@host("ConstantOfShape")
def constant_of_shape(shape: Host, *, opset: int, value: Host | None = None) -> Host:
    """One value, repeated; what is no shape is made within the program."""
    fill = np.zeros(1, np.float32) if value is None else value
    if fill.dtype.kind == "f" or np.prod(ints(shape)) > _MANY:
        return NotImplemented
    return np.full(ints(shape), fill.reshape(-1)[0], fill.dtype)


def _reduction(name: str, fn: Callable[..., Any]) -> None:
    def apply(
        x: Host,
        axes_input: Host | None = None,
        *,
        opset: int,
        axes: Any = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Host:
        if not x.size:
            return NotImplemented  # type: ignore[return-value]
        where = ints(axes if axes_input is None else axes_input) or None
        if where is None and noop_with_empty_axes:
            return x
        return np.asarray(fn(x, axis=where, keepdims=bool(keepdims))).astype(x.dtype)

    HOST[name] = apply


for _name, _fn in {
    "ReduceProd": np.prod, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min,
}.items():  # fmt: skip
    _reduction(_name, _fn)
