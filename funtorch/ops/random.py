"""Factories of random tensors, and overwriting with random numbers in place."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.device import place_of
from funtorch.ops import _draw, keyed
from funtorch.ops._declare import composite
from funtorch.ops._draw import drawn, fill
from funtorch.ops.creation import finish, shape_from
from funtorch.ops.memory import as_dtype, strides_for
from funtorch.random import sampling
from funtorch.random.generator import Generator
from funtorch.tensor import Tensor, dtype_of, size_of

# What is drawn --------------------------------------------------------------------------------


def _floating(dtype: Any, what: str) -> dtypes.dtype:
    kind = dtypes.get_default_dtype() if dtype is None else as_dtype(dtype)
    if not (kind.is_floating_point or kind.is_complex) or "float8" in kind.name:
        name = _draw.KINDS.get(kind.name, kind.name)
        raise NotImplementedError(f"\"{what}\" not implemented for '{name}'")
    return kind


def _uniform(
    shape: Any,
    place: Any,
    generator: Any,
    kind: dtypes.dtype,
    low: float = 0.0,
    high: float = 1.0,
    stride: Any = None,
) -> Tensor:
    part, times = _draw.real_parts(kind)

    def draw(engine: Any, count: int) -> Any:
        flat = sampling.uniform(engine, count * times, part, low, high)
        return flat.view(kind.numpy) if times == 2 else flat

    def in_program(key: Tensor, size: Any) -> Tensor:
        return keyed._key_uniform(key, size, low, high, kind)

    return drawn(shape, place, generator, draw, in_program, kind.numpy, stride)


def _normal(
    shape: Any,
    place: Any,
    generator: Any,
    kind: dtypes.dtype,
    mean: float = 0.0,
    std: float = 1.0,
    stride: Any = None,
) -> Tensor:
    draw = _normal_draw(kind, mean, std, serial=stride is not None)

    def in_program(key: Tensor, size: Any) -> Tensor:
        return keyed._key_normal(key, size, mean, std, kind)

    return drawn(shape, place, generator, draw, in_program, kind.numpy, stride)


def _normal_draw(kind: dtypes.dtype, mean: float, std: float, *, serial: bool) -> Any:
    part, times = _draw.real_parts(kind)
    scale = std / math.sqrt(2) if times == 2 else std

    def draw(engine: Any, count: int) -> Any:
        flat = sampling.normal(engine, count * times, part, mean, scale, serial=serial)
        return flat.view(kind.numpy) if times == 2 else flat

    return draw


def _integers(
    shape: Any,
    place: Any,
    generator: Any,
    kind: dtypes.dtype,
    low: int,
    high: int,
    stride: Any = None,
) -> Tensor:
    def draw(engine: Any, count: int) -> Any:
        return sampling.integers(engine, count, low, high).astype(kind.numpy)

    def in_program(key: Tensor, size: Any) -> Tensor:
        return keyed._key_integers(key, size, low, high - low, kind)

    return drawn(shape, place, generator, draw, in_program, kind.numpy, stride)


def check_bounds(kind: dtypes.dtype, low: int, high: int) -> None:
    """Raise RuntimeError unless integers on [low, high) fit into a dtype."""
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    if kind.is_complex:
        raise RuntimeError(
            "check_random_bounds handles only integral, floating-point and boolean types"
        )
    if kind.is_floating_point:
        _check_precision(kind, low, high)
        return
    lowest, highest = (
        (0, 1) if kind is dtypes.bool_ else (np.iinfo(kind.numpy).min, np.iinfo(kind.numpy).max)
    )
    for word, number in (("from", low), ("to - 1", high - 1)):
        if not lowest <= number <= highest:
            raise RuntimeError(f"{word} is out of bounds for {_C_NAMES.get(kind.name, kind.name)}")


_C_NAMES = {
    "uint8": "unsigned char",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long",
    "bool": "bool",
}
_DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}


def _check_precision(kind: dtypes.dtype, low: int, high: int) -> None:
    reach = 1 << _DIGITS[kind.name]
    for word, number in (("from", low), ("to - 1", high - 1)):
        if abs(number) > reach:
            warnings.warn(
                f"{word} is out of bounds [-(2^{_DIGITS[kind.name]}), 2^{_DIGITS[kind.name]}]: "
                f"{kind} cannot hold all integers in this range",
                UserWarning,
                stacklevel=4,
            )


# Factories ------------------------------------------------------------------------------------


@composite()
def rand(
    *size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers on [0, 1). -> [size]"""
    kind = _floating(_of_out(dtype, out), "check_uniform_bounds")
    made = _uniform(shape_from(_some(size, "rand")), place_of(device), generator, kind)
    return finish(made, requires_grad, out)


@composite()
def randn(
    *size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers. -> [size]"""
    kind = _floating(_of_out(dtype, out), "normal_kernel_cpu")
    made = _normal(shape_from(_some(size, "randn")), place_of(device), generator, kind)
    return finish(made, requires_grad, out)


def _of_out(dtype: Any, out: Tensor | None) -> Any:
    return dtype_of(out) if dtype is None and out is not None else dtype


def _some(size: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not size:
        raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
    return size


@composite()
def randint(
    *args: Any,
    low: int | None = None,
    high: int | None = None,
    size: Any = None,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Integers on [low, high): `randint(low=0, high, size)`. -> [size]"""
    given = list(args)
    if size is None and given and isinstance(given[-1], list | tuple):
        size = given.pop()
    if high is None and given:
        high = given.pop()
    if low is None:
        low = given.pop() if given else 0
    if given or high is None or size is None:
        raise TypeError(
            "randint() received an invalid combination of arguments - expected "
            "(int low=0, int high, tuple of ints size)"
        )
    kind = dtypes.int64 if dtype is None else as_dtype(dtype)
    if dtype is None and out is not None:
        kind = dtype_of(out)
    low, high = int(low), int(high)
    check_bounds(kind, low, high)
    made = _integers(shape_from((size,)), place_of(device), generator, kind, low, high)
    return finish(made, requires_grad, out)


@composite()
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers below n in random order. -> [n]"""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    kind = dtypes.int64 if dtype is None else as_dtype(dtype)
    if dtype is None and out is not None:
        kind = dtype_of(out)
    if not kind.is_floating_point and n - 1 > np.iinfo(kind.numpy).max:
        raise RuntimeError(f"value cannot be converted to type {kind.name}_t without overflow")

    def draw(engine: Any, count: int) -> Any:
        return sampling.permutation(engine, count).astype(kind.numpy)

    def in_program(key: Tensor, size: Any) -> Tensor:
        return keyed._key_permutation(key, n, kind)

    made = drawn((n,), place_of(device), generator, draw, in_program, kind.numpy)
    return finish(made, requires_grad, out)


def _likeness(self: Tensor, dtype: Any, device: Any, format: Any) -> Any:
    kind = dtype_of(self) if dtype is None else as_dtype(dtype)
    place = self._value.aval.place if device is None else place_of(device)
    return kind, place, strides_for(format, self)


@composite()
def rand_like(
    self: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Uniform numbers on [0, 1) in the shape of another tensor. [...] -> [...]"""
    kind, place, stride = _likeness(self, dtype, device, memory_format)
    kind = _floating(kind, "check_uniform_bounds")
    made = _uniform(size_of(self), place, generator, kind, stride=stride)
    return finish(made, requires_grad)


@composite()
def randn_like(
    self: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Standard normal numbers in the shape of another tensor. [...] -> [...]"""
    kind, place, stride = _likeness(self, dtype, device, memory_format)
    kind = _floating(kind, "normal_kernel_cpu")
    made = _normal(size_of(self), place, generator, kind, stride=stride)
    return finish(made, requires_grad)


@composite()
def randint_like(
    self: Tensor,
    *bounds: Any,
    low: int | None = None,
    high: int | None = None,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Integers on [low, high) in the shape of another tensor. [...] -> [...]"""
    given = list(bounds)
    if high is None and given:
        high = given.pop()
    if low is None:
        low = given.pop() if given else 0
    if given or high is None:
        raise TypeError(
            "randint_like() received an invalid combination of arguments - expected "
            "(Tensor input, int low=0, int high)"
        )
    kind, place, stride = _likeness(self, dtype, device, memory_format)
    low, high = int(low), int(high)
    check_bounds(kind, low, high)
    made = _integers(size_of(self), place, generator, kind, low, high, stride)
    return finish(made, requires_grad)


# In place -------------------------------------------------------------------------------------


@composite("method", function=False)
def uniform_(
    self: Tensor,
    from_: float = 0.0,
    to: float = 1.0,
    *,
    generator: Generator | None = None,
    **other: float,
) -> Tensor:
    """Overwrite with uniform numbers on [from, to)."""
    low, high = float(other.pop("from", from_)), float(to)
    kind = _floating(dtype_of(self), "check_uniform_bounds")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    part, times = _draw.real_parts(kind)

    def draw(engine: Any, count: int) -> Any:
        flat = sampling.uniform(engine, count * times, part, low, high)
        return flat.view(kind.numpy) if times == 2 else flat

    return fill(
        self, generator, draw, lambda key, size: keyed._key_uniform(key, size, low, high, kind)
    )


@composite("method", function=False)
def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Overwrite with normal numbers."""
    mean, std = _number(mean), _number(std)
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    kind = _floating(dtype_of(self), "normal_kernel_cpu")
    draw = _normal_draw(kind, mean, std, serial=not self.is_contiguous())
    return fill(
        self, generator, draw, lambda key, size: keyed._key_normal(key, size, mean, std, kind)
    )


def _number(value: Any) -> float:
    return float(value.item() if isinstance(value, Tensor) else value)


@composite("method", function=False)
def random_(
    self: Tensor,
    *bounds: Any,
    to: int | None = None,
    generator: Generator | None = None,
    **other: Any,
) -> Tensor:
    """Overwrite with integers on [from, to), or with all that the dtype holds."""
    kind = dtype_of(self)
    given = [None if b is None else int(b) for b in bounds]
    low = other.pop("from", given[0] if len(given) == 2 else None)
    high = to if to is not None else (given[-1] if given else None)
    if low is None and high is None:
        return fill(
            self,
            generator,
            lambda e, n: sampling.full_range(e, n, kind.numpy),
            lambda key, size: _bits_as(keyed._key_bits(key, size), kind),
        )
    low = 0 if low is None else low
    if high is None:  # to the end of the type
        high = 1 << 63 if not kind.is_floating_point else 1 << _DIGITS[kind.name]
        if kind is not dtypes.int64 and not kind.is_floating_point:
            high = int(np.iinfo(kind.numpy).max) + 1
    check_bounds(kind, low, high)
    return fill(
        self,
        generator,
        lambda e, n: sampling.integers(e, n, low, high).astype(kind.numpy),
        lambda key, size: keyed._key_integers(key, size, low, high - low, kind),
    )


def _bits_as(bits: Tensor, kind: dtypes.dtype) -> Tensor:
    reach = _DIGITS.get(kind.name, 8 * kind.itemsize - kind.is_signed)
    limit = 2 if kind is dtypes.bool_ else (1 << reach) + kind.is_floating_point
    positive = bits.to(dtypes.int64) & 0x7FFFFFFFFFFFFFFF
    return positive.remainder(min(limit, (1 << 63) - 1)).to(kind)
