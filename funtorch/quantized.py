"""Quantised tensors: integers, and the grid of numbers that they stand for.

value = (integer - zero point) * scale, with one scale for the tensor or one for each of its channels
along an axis. What moves elements or keeps their order works on the integers; there is no arithmetic,
as in most of PyTorch. Nothing is differentiable; `fake_quantize_*` is (see `ops/quantize.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from funtorch import dtypes, qschemes
from funtorch.composed import Composed
from funtorch.device import device_of
from funtorch.dispatch import to_host
from funtorch.layouts import Layout, strided
from funtorch.ops._declare import TABLE, Array, Scalar, composite, op
from funtorch.ops.memory import convert, parse_to
from funtorch.ops.quantize import spread
from funtorch.printing import render_noted
from funtorch.tensor import Tensor, device_of_tensor, dtype_of, size_of

HANDLERS: dict[str, Callable[..., Any]] = {}
"""What functions do with quantised tensors, by name."""
STORED = {dtypes.by_name(n): dtypes.by_name(n[1:]) for n in ("qint8", "quint8", "qint32")}
"""The integers of each quantised dtype."""


def handles(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into `HANDLERS`."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        HANDLERS.update(dict.fromkeys(names, function))
        return function

    return enter


class Grid(NamedTuple):
    """What integers stand for. scale, zero: numbers, or [channels] if there is an axis."""

    dtype: dtypes.dtype
    scale: Any
    zero: Any
    axis: int | None = None

    def integers(self, values: Tensor) -> Tensor:
        """float32 [...] -> integers [...]"""
        ends = np.iinfo(STORED[self.dtype].numpy)
        found = _to_grid(values, self.scale, self.zero, self.axis, int(ends.min), int(ends.max))
        return convert(found, STORED[self.dtype], None)

    def values(self, integers: Tensor) -> Tensor:
        """integers [...] -> float32 [...]"""
        return _from_grid(integers, self.scale, self.zero, self.axis)


@op(function=False, differentiable=False)
def _to_grid(
    self: Array, scale: Array | Scalar, zero: Array | Scalar, axis: int | None, low: int, high: int
) -> Array:
    steps = self * (1 / spread(scale, axis, self.ndim))
    whole = jnp.round(steps + spread(zero, axis, self.ndim)).astype(jnp.float64)
    return jnp.clip(jnp.where(jnp.isnan(whole), low, whole), low, high).astype(jnp.int64)


@op(function=False, differentiable=False)
def _from_grid(self: Array, scale: Array | Scalar, zero: Array | Scalar, axis: int | None) -> Array:
    steps = self.astype(jnp.float64) - spread(zero, axis, self.ndim).astype(jnp.float64)
    return steps.astype(jnp.float32) * spread(scale, axis, self.ndim)


class QuantizedTensor(Composed, watched=False):
    """A tensor of dtype `quint8`, `qint8` or `qint32`. _inner: its integers."""

    _kind = strided
    handlers = HANDLERS
    way_out = "Use .dequantize() first."
    _grid: Grid

    def _with(self, inner: Tensor) -> QuantizedTensor:
        return on_grid(inner, self._grid)

    @classmethod
    def _unsupported(cls, name: str, args: Any, kwargs: Any) -> NotImplementedError:
        return NotImplementedError(
            f"Could not run 'aten::{name}' with arguments from the 'Quantized' backend: there is "
            f"no {name} for quantised tensors. {cls.way_out}"
        )

    @property
    def dtype(self) -> dtypes.dtype:  # type: ignore[override]
        """`torch.quint8`, `qint8` or `qint32`."""
        return self._grid.dtype

    @property
    def is_quantized(self) -> bool:  # type: ignore[override]
        """Always."""
        return True

    @property
    def layout(self) -> Layout:
        """The integers are strided."""
        return strided

    def stride(self, dim: int | None = None) -> Any:
        """Strides of the integers."""
        return self._inner.stride() if dim is None else self._inner.stride(dim)

    def storage_offset(self) -> int:
        """Offset of the integers."""
        return int(self._inner.storage_offset())

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Do the integers lie one after the other?"""
        return bool(self._inner.is_contiguous())

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of the tensor's type: 'torch.quantized.QInt8Tensor'."""
        if dtype is not None:
            raise self._unsupported("type", (), {})
        name = self._grid.dtype.name
        return f"torch.quantized.{'QUInt' if 'u' in name else 'QInt'}{name.strip('quint')}Tensor"

    def __getitem__(self, index: Any) -> QuantizedTensor:
        if self._grid.axis is not None:
            raise RuntimeError("indexing: only for tensors with one scale, not one per channel")
        return self._with(self._inner[index])

    def item(self) -> float:
        """The one number. Waits for it."""
        return float(dequantized(self).item())

    def numpy(self, *, force: bool = False) -> Any:
        """Raises TypeError: NumPy has no such dtype."""
        raise TypeError(f"Got unsupported ScalarType {self.type().split('.')[-1][:-6]}")

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        grid, where = self._grid, device_of_tensor(self)
        notes = [] if where.type == "cpu" else [f"device='{where}'"]
        notes += [f"size={tuple(size_of(self))}", f"dtype={grid.dtype!r}"]
        notes.append(f"quantization_scheme={_qscheme(self)!r}")
        notes += [f"scale={grid.scale}", f"zero_point={grid.zero}"]
        notes += [] if grid.axis is None else [f"axis={grid.axis}"]
        return render_noted(to_host(dequantized(self)), notes)


def on_grid(integers: Tensor, grid: Grid) -> QuantizedTensor:
    """Integers of the type that a grid's dtype stores, as a quantised tensor."""
    made: QuantizedTensor = QuantizedTensor._made(integers, size_of(integers))
    made._grid = grid
    return made


# Making -------------------------------------------------------------------------------------------


def _check(values: Tensor, dtype: Any) -> None:
    if dtype not in STORED:
        raise RuntimeError(f"ScalarType {dtype} is not supported in new_qtensor.")
    if dtype_of(values) is not dtypes.float32:
        raise RuntimeError(f"Quantize only works on Float Tensor, got {dtype_of(values)}")


def _number(value: Any, kind: Any) -> Any:
    return kind(value.item() if isinstance(value, Tensor) else value)


@composite()
def quantize_per_tensor(self: Tensor, scale: Any, zero_point: Any, dtype: Any) -> QuantizedTensor:
    """Round to a grid with one scale. float32 [...] -> [...]

    Raises RuntimeError for another dtype, or a zero point that no integer of it can be.
    """
    _check(self, dtype)
    grid = Grid(dtype, _number(scale, float), _number(zero_point, int))
    ends = np.iinfo(STORED[dtype].numpy)
    if not ends.min <= grid.zero <= ends.max:
        side = "below lower" if grid.zero < ends.min else "above upper"
        raise RuntimeError(
            f"quantize_tensor_per_tensor_affine zero_point {grid.zero} is {side} bound."
        )
    return on_grid(grid.integers(self.detach()), grid)


def _channels(self: Tensor, scales: Tensor, zero_points: Tensor, axis: int, dtype: Any) -> Grid:
    if not 0 <= axis < self.ndim:
        raise RuntimeError(f"Channel axis out of range in per channel affine quantization: {axis}")
    for name, given in (("scales", scales), ("zero_points", zero_points)):
        if size_of(given) != (size_of(self)[axis],):
            raise RuntimeError(
                f"length of {name} must equal to channel, expected {size_of(self)[axis]} got, "
                f"{given.numel()}"
            )
    return Grid(dtype, scales.detach().double(), zero_points.detach().long(), axis)


@composite()
def quantize_per_channel(
    self: Tensor, scales: Tensor, zero_points: Tensor, axis: int, dtype: Any
) -> QuantizedTensor:
    """Round to a grid with a scale for each index of `axis`. float32 [...], [n], [n] -> [...]"""
    _check(self, dtype)
    grid = _channels(self, scales, zero_points, axis, dtype)
    return on_grid(grid.integers(self.detach()), grid)


def _of_integers(integers: Tensor) -> Any:
    for kind, stored in STORED.items():
        if dtype_of(integers) is stored:
            return kind
    raise RuntimeError(f"there is no quantised dtype that stores {dtype_of(integers)}")


@composite(name="_make_per_tensor_quantized_tensor")
def _made_per_tensor(self: Tensor, scale: float, zero_point: int) -> QuantizedTensor:
    """uint8, int8 or int32 [...] as a quantised tensor."""
    return on_grid(self.clone(), Grid(_of_integers(self), float(scale), int(zero_point)))


@composite(name="_make_per_channel_quantized_tensor")
def _made_per_channel(
    self: Tensor, scale: Tensor, zero_point: Tensor, axis: int
) -> QuantizedTensor:
    """uint8, int8 or int32 [...], [n], [n] as a quantised tensor."""
    return on_grid(self.clone(), _channels(self, scale, zero_point, axis, _of_integers(self)))


# Asking -------------------------------------------------------------------------------------------


def dequantized(self: QuantizedTensor) -> Tensor:
    """The numbers that the integers stand for: float32 [...]"""
    return self._grid.values(self._inner)


@handles("dequantize")
def _dequantize(tensors: Any) -> Any:
    if isinstance(tensors, list | tuple):
        return tuple(map(_dequantize, tensors))
    return _plain(tensors).float()


@composite("method")
def dequantize(self: Any) -> Any:
    """As float32: [...] -> [...], also of each tensor of a list."""
    return _dequantize(self)


def _question(name: str, axis: bool | None, answer: Callable[[QuantizedTensor], Any]) -> None:
    """Declare a function that only quantised tensors have. axis: must there be one (or none)?"""

    def ask(self: QuantizedTensor) -> Any:
        if axis is not None and axis is (self._grid.axis is None):
            raise RuntimeError(f"{name}: not for a tensor of scheme {_qscheme(self)!r}")
        return answer(self)

    def refuse(self: Tensor) -> Any:
        raise NotImplementedError(
            f"Could not run 'aten::{name}' with arguments from the "
            f"'{device_of(self._value.aval.place).type.upper()}' backend: it takes quantised tensors"
        )

    HANDLERS[name] = ask
    refuse.__name__ = name
    refuse.__doc__ = "Asks a quantised tensor for its grid or integers."
    composite("method", function=name != "qscheme")(refuse)


def _qscheme(self: QuantizedTensor) -> Any:
    whole = self._grid.axis is None
    return qschemes.per_tensor_affine if whole else qschemes.per_channel_affine


_question("int_repr", None, lambda q: q._inner.clone())
_question("qscheme", None, _qscheme)
_question("q_scale", False, lambda q: q._grid.scale)
_question("q_zero_point", False, lambda q: q._grid.zero)
_question("q_per_channel_scales", True, lambda q: q._grid.scale)
_question("q_per_channel_zero_points", True, lambda q: q._grid.zero)
_question("q_per_channel_axis", True, lambda q: q._grid.axis)


# Moving -------------------------------------------------------------------------------------------


def _on_integers(name: str, *, channels: bool = False) -> None:
    """A function that moves integers, or chooses among them. channels: also with an axis."""

    def moved(self: QuantizedTensor, *args: Any, **kwargs: Any) -> Any:
        if self._grid.axis is not None and not channels:
            raise RuntimeError(f"{name}: only for tensors with one scale, not one per channel")
        found = getattr(self._inner, name)(*args, **kwargs)
        if isinstance(found, tuple | list):
            return (
                type(found)(*_all(found, self)) if hasattr(found, "_fields") else _all(found, self)
            )
        return self._with(found)

    HANDLERS[name] = moved


def _all(found: Sequence[Tensor], like: QuantizedTensor) -> tuple[Any, ...]:
    """Results as quantised tensors; indices stay what they are."""
    kind = dtype_of(like._inner)
    return tuple(like._with(f) if dtype_of(f) is kind else f for f in found)


for _name in ("clone", "detach", "contiguous", "cpu", "cuda"):
    _on_integers(_name, channels=True)
_MOVING = """chunk expand expand_as flatten flip index_select max median min movedim moveaxis narrow permute
    repeat reshape select sort split squeeze swapaxes swapdims t topk transpose unbind unflatten unfold
    unsqueeze view view_as"""
for _name in _MOVING.split():
    _on_integers(_name)


def _of_function(name: str) -> None:
    """A function of the table that chooses among the integers of its first argument."""
    facade = TABLE[name].facade

    def chosen(self: QuantizedTensor, *args: Any, **kwargs: Any) -> QuantizedTensor:
        return self._with(facade(self._inner, *args, **kwargs))

    HANDLERS[name] = chosen


for _name in ("max_pool1d", "max_pool2d", "max_pool3d"):
    _of_function(_name)


def _joined(name: str) -> None:
    facade = TABLE[name].facade

    def joined(tensors: Sequence[Any], dim: int = 0) -> QuantizedTensor:
        """On the grid of the first."""
        grid = tensors[0]._grid
        parts = [t._inner if _alike(t, tensors[0]) else grid.integers(_plain(t)) for t in tensors]
        return on_grid(facade(parts, dim), grid)

    HANDLERS[name] = joined


_joined("cat")
_joined("stack")


def _alike(one: Any, other: QuantizedTensor) -> bool:
    """Of one grid? Grids per channel are so only if they are the same object's."""
    if not isinstance(one, QuantizedTensor):
        return False
    same = one._grid is other._grid or (one._grid.axis is None and one._grid == other._grid)
    return bool(same)


def _plain(value: Any) -> Any:
    return dequantized(value) if isinstance(value, QuantizedTensor) else value


# Comparing, bounding, writing ---------------------------------------------------------------------


def _on_values(name: str) -> None:
    facade = TABLE[name].facade
    HANDLERS[name] = lambda self, other: facade(_plain(self), _plain(other))


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    _on_values(_name)


@handles("equal")
def _equal(self: Any, other: Any) -> bool:
    return _alike(self, other) and bool(TABLE["equal"].facade(self._inner, other._inner))


def _place(grid: Grid, value: float) -> int:
    """The integer of a number."""
    ends = np.iinfo(STORED[grid.dtype].numpy)
    steps = np.float32(value) * np.float32(1 / np.float32(grid.scale))
    return int(np.clip(np.rint(steps + np.float32(grid.zero)), ends.min, ends.max))


@handles("clamp", "clip")
def _clamp(self: QuantizedTensor, min: Any = None, max: Any = None) -> QuantizedTensor:
    low, high = (None if end is None else _place(self._grid, end) for end in (min, max))
    return self._with(self._inner.clamp(low, high))


@handles("relu")
def _relu(self: QuantizedTensor) -> QuantizedTensor:
    return _clamp(self, 0.0)


@handles("relu6")
def _relu6(input: QuantizedTensor, inplace: bool = False) -> QuantizedTensor:
    return _hardtanh(input, 0.0, 6.0, inplace)


@handles("hardtanh")
def _hardtanh(
    input: QuantizedTensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> QuantizedTensor:
    made = _clamp(input, min_val, max_val)
    return input._become(made) if inplace else made


@handles("to")
def _to(self: QuantizedTensor, *args: Any, **kwargs: Any) -> QuantizedTensor:
    """To another device."""
    dtype, device, options = parse_to(*args, **kwargs)
    if dtype is not None and dtype is not self._grid.dtype:
        raise RuntimeError("a quantised tensor has no other dtype; use .dequantize()")
    return self._with(convert(self._inner, None, device, copy=options["copy"]))


@handles("copy_")
def _copy(self: Any, src: Tensor, non_blocking: bool = False) -> Any:
    if not isinstance(self, QuantizedTensor):
        return self.copy_(_plain(src), non_blocking)
    self._inner.copy_(self._grid.integers(_plain(src)))
    return self
