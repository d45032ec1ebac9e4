"""Tensors made from a shape: filled with one value, or with nothing."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch import dtypes
from funtorch.device import device_of, place_of
from funtorch.dispatch import OpInfo, create
from funtorch.layouts import strided
from funtorch.lowering import META, Op, Value, aval_of
from funtorch.ops._declare import composite
from funtorch.ops.memory import as_dtype, strides_for
from funtorch.tensor import Tensor, dtype_of, size_of, wrap


def _lower_full(arrays: Any, numbers: Any, statics: Any) -> Any:
    shape, dtype = statics
    return (jnp.full(shape, jnp.asarray(numbers[0]).astype(dtype), dtype),)


_FULL = OpInfo(Op("full", _lower_full))


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
