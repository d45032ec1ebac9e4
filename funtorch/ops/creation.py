"""Making tensors: from data, and from a shape."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch import dtypes, hostmem
from funtorch.device import device_of, place_of
from funtorch.dispatch import OpInfo, create
from funtorch.layouts import strided
from funtorch.lowering import META, Op, Value, aval_of
from funtorch.ops._declare import Array, Dtype, Scalar, composite, op
from funtorch.ops.memory import _clone, as_dtype, convert, strides_for
from funtorch.tensor import (
    Tensor,
    dtype_of,
    from_host,
    legacy_constructor,
    size_of,
    wrap,
)

# Ops without tensor inputs --------------------------------------------------------------------


def _lower_full(arrays: Any, numbers: Any, statics: Any) -> Any:
    shape, dtype = statics
    return (jnp.full(shape, jnp.asarray(numbers[0]).astype(dtype), dtype),)


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


_FULL = OpInfo(Op("full", _lower_full))
_RANGE = OpInfo(Op("arange", _lower_range))
_LINSPACE = OpInfo(Op("linspace", _lower_linspace))
_EYE = OpInfo(Op("eye", _lower_eye))


_COMPLEX = complex  # the name is an op further below


def shape_from(size: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape given as numbers or as one sequence."""
    if len(size) == 1 and isinstance(size[0], Sequence):
        size = tuple(size[0])
    shape = tuple([n if type(n) is int else operator.index(n) for n in size])
    if any(n < 0 for n in shape):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}"
        )
    return shape


def finish(
    made: Tensor, requires_grad: bool, out: Tensor | None = None, dtype: Any = None
) -> Tensor:
    """The common end of all factories."""
    if out is not None:
        if dtype is not None and as_dtype(dtype) is not out.dtype:
            raise RuntimeError(
                f"dtype {as_dtype(dtype)} does not match dtype of out parameter ({out.dtype})"
            )
        return write_out[0](made, out, "dtype")
    if requires_grad:
        made.requires_grad_()
    return made


write_out: list[Any] = []
"""How a result is written to `out=`; `_surface`, which stands above, puts it here."""


other_layout: list[Any] = []
"""Tensors without entries in a sparse layout; `sparse`, which stands above, puts it here."""


def _filled(shape: tuple[int, ...], value: Any, dtype: Any, device: Any) -> Tensor:
    kind = dtypes.get_default_dtype() if dtype is None else as_dtype(dtype)
    place = place_of(device)
    if place is META:
        return wrap(Value(aval_of(shape, kind.numpy, META)))
    return create(_FULL, (shape, kind.numpy), (value,), place)


def zeros_at(shape: tuple[int, ...], dtype: dtypes.dtype, place: Any) -> Tensor:
    """Zeros on a JAX device (or META)."""
    return _filled(shape, 0, dtype, device_of(place))


@composite()
def zeros(
    *size: Any,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    names: Any = None,
) -> Tensor:
    """Zeros. -> [size]"""
    if layout is not None and layout is not strided:
        return other_layout[0](shape_from(size), dtype, device, layout, requires_grad)
    return finish(_filled(shape_from(size), 0, dtype, device), requires_grad, out, dtype)


@composite()
def ones(
    *size: Any,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    names: Any = None,
) -> Tensor:
    """Ones. -> [size]"""
    return finish(_filled(shape_from(size), 1, dtype, device), requires_grad, out, dtype)


@composite()
def empty(
    *size: Any,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
    names: Any = None,
) -> Tensor:
    """A tensor whose contents nobody may rely on (here: zeros). -> [size]"""
    if layout is not None and layout is not strided:
        return other_layout[0](shape_from(size), dtype, device, layout, requires_grad)
    made = _filled(shape_from(size), 0, dtype, device)
    if memory_format is not None:
        made._stride = made._storage.layout = strides_for(memory_format, made)
    return finish(made, requires_grad, out, dtype)


@composite()
def full(
    size: Any,
    fill_value: Any,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    names: Any = None,
) -> Tensor:
    """One value everywhere. -> [size]"""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    if dtype is None:
        dtype = dtypes.of_scalar(value)
    return finish(
        _filled(shape_from((size,)), _number(value), dtype, device), requires_grad, out, dtype
    )


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


@composite()
def empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor with these strides whose contents nobody may rely on. -> [size]"""
    shape, strides = shape_from((size,)), shape_from((stride,))
    reach = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    flat = _filled((reach if math.prod(shape) else 0,), 0, dtype, device)
    return finish(flat.as_strided(shape, strides, 0), requires_grad)


def _like(name: str, value: Any) -> Any:
    def function(
        self: Tensor,
        *,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
        memory_format: Any = None,
    ) -> Tensor:
        made = _like_filled(self, value, dtype, device, memory_format)
        return finish(made, requires_grad)

    function.__name__ = name
    function.__doc__ = f"{name.split('_', maxsplit=1)[0].capitalize()} in the shape of another."
    return composite()(function)


def _like_filled(self: Tensor, value: Any, dtype: Any, device: Any, format: Any) -> Tensor:
    kind = dtype_of(self) if dtype is None else dtype
    made = _filled(size_of(self), value, kind, self.device if device is None else device)
    made._stride = made._storage.layout = strides_for(format, self)
    return made


zeros_like = _like("zeros_like", 0)
ones_like = _like("ones_like", 1)
empty_like = _like("empty_like", 0)


@composite()
def full_like(
    self: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """One value in the shape of another tensor. [...] -> [...]"""
    value = fill_value.item() if isinstance(fill_value, Tensor) else _number(fill_value)
    return finish(_like_filled(self, value, dtype, device, memory_format), requires_grad)


def _new(name: str, value: Any) -> Any:
    def method(
        self: Tensor,
        *size: Any,
        dtype: Any = None,
        device: Any = None,
        layout: Any = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
    ) -> Tensor:
        kind = dtype_of(self) if dtype is None else dtype
        where = self.device if device is None else device
        shape = shape_from(size)
        return finish(_filled(shape, value, kind, where), requires_grad)

    method.__name__ = name
    method.__doc__ = f"{name.removeprefix('new_').capitalize()} of this dtype and device."
    return composite("method", function=False)(method)


for _name, _value in (("new_zeros", 0), ("new_ones", 1), ("new_empty", 0)):
    _new(_name, _value)


@composite("method", function=False)
def new_full(
    self: Tensor,
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """One value, of this dtype and device. -> [size]"""
    kind = dtype_of(self) if dtype is None else dtype
    where = self.device if device is None else device
    value = fill_value.item() if isinstance(fill_value, Tensor) else _number(fill_value)
    return finish(_filled(shape_from((size,)), value, kind, where), requires_grad)


@composite("method", function=False)
def new_empty_strided(
    self: Tensor,
    size: Any,
    stride: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Uninitialised with these strides, of this dtype and device. -> [size]"""
    kind = dtype_of(self) if dtype is None else dtype
    where = self.device if device is None else device
    return empty_strided(size, stride, dtype=kind, device=where, requires_grad=requires_grad)


@composite("method", function=False)
def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`tensor(data)` of this dtype and device."""
    kind = dtype_of(self) if dtype is None else dtype
    where = self.device if device is None else device
    return tensor(data, dtype=kind, device=where, requires_grad=requires_grad)


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
    return dtype_of(bound).is_complex if isinstance(bound, Tensor) else type(bound) is _COMPLEX


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


@op(saves=(), layout="pointwise")
def complex(real: Array, imag: Array) -> Array:
    """Complex numbers from their parts. [...], [...] -> [...]"""
    if real.dtype != imag.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {real.dtype} but got scalar type {imag.dtype} for "
            "second argument"
        )
    if real.dtype not in (jnp.float32, jnp.float64):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {real.dtype}"
        )
    return lax.complex(*jnp.broadcast_arrays(real, imag))


# From data ----------------------------------------------------------------------------------


def infer_array(data: Any, dtype: dtypes.dtype | None) -> np.ndarray[Any, Any]:
    """A NumPy array with Python data, typed as PyTorch types it."""
    if isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
        dtypes.of(array.dtype)
        return array if dtype is None else _cast_host(array, dtype)
    flat = _without_tensors(data)
    if dtype is None:
        dtype = _inferred(flat)
    try:
        array = np.array(flat) if dtype.category else np.array(flat, dtype=bool)
    except ValueError as error:
        raise ValueError(
            f"expected sequences of equal lengths at every dimension: {error}"
        ) from None
    if array.dtype == object or array.dtype.kind in "US":
        raise TypeError(_not_numbers(data))
    if array.size == 0:
        return np.zeros(array.shape, dtype.numpy)
    if array.dtype.kind in "iu" and dtype.category == 1:
        info = np.iinfo(dtype.numpy)
        if array.min() < info.min or array.max() > info.max:
            raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    return _cast_host(array, dtype)


def _not_numbers(data: Any) -> str:
    kind = (
        type(data[0]).__name__
        if isinstance(data, Sequence) and len(data)
        else (type(data).__name__)
    )
    if isinstance(data, str):
        return "new(): invalid data type 'str'"
    return f"not a sequence of numbers: could not infer dtype of {kind}"


def _cast_host(array: np.ndarray[Any, Any], dtype: dtypes.dtype) -> np.ndarray[Any, Any]:
    if array.dtype == dtype.numpy:
        return array
    if array.dtype.kind == "c" and not dtype.is_complex:
        array = array.real
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy)


def _without_tensors(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, str):
        raise TypeError("new(): invalid data type 'str'")
    if isinstance(data, list | tuple | range):
        return [_without_tensors(item) for item in data]
    if isinstance(data, bool | int | float | np.generic | np.ndarray) or data is None:
        if data is None:
            raise RuntimeError("Could not infer dtype of NoneType")
        return data
    if type(data).__name__ == "complex":
        return data
    if hasattr(data, "__array__"):
        return np.asarray(data)
    if isinstance(data, Sequence):
        return [_without_tensors(item) for item in data]
    if hasattr(data, "__index__"):
        return data.__index__()
    if hasattr(data, "__float__"):
        return float(data)
    raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


def _inferred(data: Any) -> dtypes.dtype:
    category = _category(data)
    if isinstance(category, dtypes.dtype):
        return category
    default = dtypes.get_default_dtype()
    return (
        (dtypes.bool_, dtypes.int64, default, default.to_complex())[max(category, 0)]
        if (category >= 0)
        else default
    )


def _category(data: Any) -> Any:
    """0 bool, 1 int, 2 float, 3 complex; -1 for nothing; a dtype for NumPy data."""
    if isinstance(data, list):
        found: Any = -1
        for item in data:
            kind = _category(item)
            if isinstance(kind, dtypes.dtype) or isinstance(found, dtypes.dtype):
                found = _joined(found, kind)
            else:
                found = max(found, kind)
        return found
    if isinstance(data, np.ndarray | np.generic):
        return dtypes.of(data.dtype)
    if isinstance(data, bool):
        return 0
    if isinstance(data, int):
        return 1
    return 2 if isinstance(data, float) else 3


def _joined(a: Any, b: Any) -> Any:
    default = dtypes.get_default_dtype()
    kinds = [
        k
        if isinstance(k, dtypes.dtype)
        else (dtypes.bool_, dtypes.int64, default, default.to_complex())[k]
        for k in (a, b)
        if k != -1
    ]
    return kinds[0] if len(kinds) == 1 else dtypes.promote_types(*kinds)


@composite()
def tensor(
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor with a copy of `data`: numbers, nested sequences, arrays, tensors."""
    kind = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Tensor):
        made = _clone(data.detach())
        made = convert(made, kind, device)
    else:
        made = from_host(infer_array(data, kind), device=device)
    if requires_grad:
        made.requires_grad_()
    return made


@composite(aliases=("asarray",))
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing memory where that is possible."""
    kind = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Tensor):
        return convert(data, kind, device)
    if isinstance(data, np.ndarray) and (device is None or place_of(device) is place_of("cpu")):
        dtypes.of(data.dtype)
        if kind is None or kind.numpy == data.dtype:
            return from_numpy(data)
    return tensor(data, dtype=kind, device=device)


@composite()
def from_numpy(ndarray: np.ndarray[Any, Any]) -> Tensor:
    """A CPU tensor that shares memory with a NumPy array: each sees the other's writes."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.of(ndarray.dtype)
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array with array.copy().)"
        )
    made = from_host(ndarray)
    made._stride = made._storage.layout = _host_layout(ndarray)
    if ndarray.flags.writeable:
        made._storage.host = hostmem.Shared(ndarray)
        made._seen = -1
    return made


def _host_layout(array: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    if array.flags.c_contiguous:
        return None
    return tuple(s // array.itemsize for s in array.strides)


@composite()
def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A one-dimensional tensor on a buffer's bytes."""
    kind = as_dtype(dtype)
    array = np.frombuffer(buffer, dtype=kind.numpy, count=count, offset=offset)
    return finish(from_numpy(array), requires_grad)


@composite()
def scalar_tensor(
    s: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A 0-d tensor. -> []"""
    kind = dtypes.get_default_dtype() if dtype is None else dtype
    if kind is dtypes.uint8 and isinstance(s, int) and -256 < s < 0:
        s += 256  # PyTorch lets negative numbers wrap around here
    return tensor(s, dtype=kind, device=device, requires_grad=requires_grad)


def _legacy(*args: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor:
    """`Tensor(2, 3)`, `Tensor([1., 2.])`, `FloatTensor(...)`."""
    kind = dtypes.get_default_dtype() if dtype is None else dtype
    if not args:
        return empty(0, dtype=kind, device=device)
    first = args[0]
    if len(args) == 1 and isinstance(first, Tensor):
        return first.detach() if first.dtype is kind else _wrong_type(first, kind)
    if len(args) == 1 and type(first).__name__ == "TypedStorage":
        return _legacy(first._elements, dtype=kind)
    sized = type(first).__name__ == "Size"
    if len(args) == 1 and not sized and not isinstance(first, int):
        return tensor(first, dtype=kind, device=device)
    return empty(*args, dtype=kind, device=device)


def _wrong_type(given: Tensor, kind: dtypes.dtype) -> Tensor:
    raise TypeError(f"expected {kind!r} (got {given.dtype!r})")


legacy_constructor[0] = _legacy
