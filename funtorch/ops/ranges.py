"""Sequences of numbers, the unit matrix, and the indices of triangles: tensors made by a rule."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch import dtypes
from funtorch.device import place_of
from funtorch.dispatch import OpInfo, create
from funtorch.lowering import META, Op, Value, aval_of
from funtorch.ops._declare import Array, Dtype, Scalar, composite, op
from funtorch.ops.creation import finish
from funtorch.ops.memory import as_dtype, convert
from funtorch.tensor import Tensor, dtype_of, from_host, wrap

# Ops without tensor inputs --------------------------------------------------------------------


def _lower_range(arrays: Any, numbers: Any, statics: Any) -> Any:
    length, dtype, compute = statics
    start, step = (jnp.asarray(n).astype(compute) for n in numbers)
    return ((start + jnp.arange(length, dtype=compute) * step).astype(dtype),)


def _lower_linspace(arrays: Any, numbers: Any, statics: Any) -> Any:
    steps, dtype = statics
    kind = np.dtype(dtype)
    compute = kind if kind.kind in "fcV" else np.dtype(np.float32)
    start, end = (jnp.asarray(n).astype(compute) for n in numbers)
    if steps <= 1:
        return (jnp.full((steps,), start).astype(dtype),)
    step = (end - start) / (steps - 1)
    # From both ends to the middle, so that the last element is the end itself.
    i = jnp.arange(steps)
    low = start + step * i.astype(compute)
    high = end - step * (steps - 1 - i).astype(compute)
    return (jnp.where(i < steps // 2, low, high).astype(dtype),)


def _lower_eye(arrays: Any, numbers: Any, statics: Any) -> Any:
    rows, columns, dtype = statics
    return (jnp.eye(rows, columns, dtype=dtype),)


_RANGE = OpInfo(Op("arange", _lower_range))
_LINSPACE = OpInfo(Op("linspace", _lower_linspace))
_EYE = OpInfo(Op("eye", _lower_eye))


@composite()
def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below end. -> [n]"""
    if end is None:
        start, end = 0, start
    start, end, step = (_scalar(v) for v in (start, end, step))
    if isinstance(out, Tensor) and dtype_of(out).category == 1 and 0 < abs(step) < 1:
        raise ValueError("step must be nonzero")  # as a whole number, which PyTorch counts in
    _check_range(start, end, step)
    if dtype is None:
        whole = all(isinstance(v, int) for v in (start, end, step))
        dtype = dtypes.int64 if whole else dtypes.get_default_dtype()
    length = max(math.ceil((end - start) / step), 0)
    made = _ranged(start, step, length, as_dtype(dtype), device)
    return finish(made, requires_grad, out, dtype)


def _check_range(start: Any, end: Any, step: Any) -> None:
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor | np.generic) else value


def _ranged(start: Any, step: Any, length: int, kind: dtypes.dtype, device: Any) -> Tensor:
    compute = (
        np.dtype(np.int64)
        if kind.category < 2 and isinstance(start, int) and isinstance(step, int)
        else np.dtype(np.float64)
    )
    place = place_of(device)
    if place is META:
        return wrap(Value(aval_of((length,), kind.numpy, META)))
    return create(_RANGE, (length, kind.numpy, compute), (start, step), place)


@composite(name="range")
def range_(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... up to and including end. -> [n]"""
    if end is None:
        start, end = 0, start
    _check_range(start, end, step)
    kind = dtypes.get_default_dtype() if dtype is None else as_dtype(dtype)
    length = math.floor((end - start) / step) + 1
    return finish(_ranged(start, step, length, kind, device), requires_grad, out, dtype)


@composite()
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` equidistant numbers from start to end. -> [steps]"""
    between = isinstance(start, Tensor) or isinstance(end, Tensor)
    if not between:
        start, end = _scalar(start), _scalar(end)
    if isinstance(steps, float):
        raise TypeError("linspace(): argument 'steps' must be int, not float")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if dtype is None:
        dtype = dtypes.get_default_dtype()
        if any(_is_complex(bound) for bound in (start, end)):
            dtype = dtype.to_complex()
    kind = as_dtype(dtype)
    if between:
        if any(isinstance(b, Tensor) and b.ndim for b in (start, end)):
            raise RuntimeError("linspace only supports 0-dimensional start and end tensors")
        return finish(_between(start, end, steps, kind), requires_grad, out, dtype)
    place = place_of(device)
    if place is META:
        return wrap(Value(aval_of((steps,), kind.numpy, META)))
    made = create(_LINSPACE, (steps, kind.numpy), (start, end), place)
    return finish(made, requires_grad, out, dtype)


def _is_complex(bound: Any) -> bool:
    return dtype_of(bound).is_complex if isinstance(bound, Tensor) else type(bound) is complex


@op(function=False, differentiable=False)
def _between(start: Array | Scalar, end: Array | Scalar, steps: int, dtype: Dtype) -> Array:
    """`linspace` whose ends are in the program. [], [] -> [steps]"""
    return _lower_linspace((), (start, end), (steps, dtype))[0]


@composite()
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """base to the power of `linspace(start, end, steps)`. -> [steps]"""
    kind = dtypes.get_default_dtype() if dtype is None else as_dtype(dtype)
    powers = linspace(start, end, steps, dtype=dtypes.float64, device=device)
    return finish(convert(base**powers, kind, None), requires_grad, out, dtype)


@composite()
def eye(
    n: int,
    m: int | None = None,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the diagonal, zeros elsewhere. -> [n, m]"""
    columns = n if m is None else m
    if n < 0 or columns < 0:
        raise RuntimeError(f"n must be greater or equal to 0, got {min(n, columns)}")
    kind = dtypes.get_default_dtype() if dtype is None else as_dtype(dtype)
    place = place_of(device)
    if place is META:
        return wrap(Value(aval_of((n, columns), kind.numpy, META)))
    return finish(create(_EYE, (n, columns, kind.numpy), (), place), requires_grad, out, dtype)


def _triangle(name: str, inside: Any) -> Any:
    def function(
        row: int,
        col: int,
        offset: int = 0,
        *,
        dtype: Any = dtypes.int64,
        device: Any = None,
        layout: Any = None,
    ) -> Tensor:
        if row < 0 or col < 0:
            raise RuntimeError(f"row and col must be non-negative, got {row} and {col}")
        i, j = np.indices((row, col))
        indices = np.stack(np.nonzero(inside(j - i, offset)))
        return from_host(indices.astype(as_dtype(dtype).numpy), device=device)

    function.__name__ = name
    function.__doc__ = "Row and column indices of a triangle of a matrix. -> [2, n]"
    return composite()(function)


tril_indices = _triangle("tril_indices", lambda d, offset: d <= offset)
triu_indices = _triangle("triu_indices", lambda d, offset: d >= offset)
