"""Copies, casts and the dtypes of results, moves between devices, filling in place."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch import dtypes
from funtorch.device import device as Device
from funtorch.device import place_of
from funtorch.dispatch import dense_like, is_contiguous, read
from funtorch.grad_mode import mode
from funtorch.lowering import META, Value, aval_of, moved
from funtorch.ops._declare import Array, Dtype, Scalar, composite, op
from funtorch.ops._promote import result_dtype
from funtorch.tape import Node, gradient_edge
from funtorch.tensor import Tensor, contiguous_strides, dtype_of, size_of, strides_of, wrap
from funtorch.views import adopt, check_writable


class memory_format:  # noqa: N801  (PyTorch's name)
    """Order of dimensions in memory."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> Any:
        return (_format_by_name, (self.name,))


FORMATS = {
    name: memory_format(name)
    for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}


def _format_by_name(name: str) -> memory_format:
    return FORMATS[name]


def strides_for(format: memory_format | None, tensor: Tensor) -> tuple[int, ...] | None:
    """Strides that a copy of `tensor` in a format has; None for contiguous."""
    name = "preserve_format" if format is None else format.name
    shape = size_of(tensor)
    if name == "contiguous_format":
        return None
    if name == "preserve_format":
        stride = tensor._stride
        if stride is None or not _dense(shape, stride):
            return dense_like(shape, stride) if stride is not None and all(stride) else None
        return stride
    rank = 4 if name == "channels_last" else 5
    if len(shape) != rank:
        raise RuntimeError(f"required rank {rank} tensor to use {name} format")
    return channels_last_strides(shape)


def channels_last_strides(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides of [N, C, ...] with channels innermost in memory."""
    order = (0, *range(2, len(shape)), 1)
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(shape[d], 1)
    made = tuple(strides)
    return None if is_contiguous(shape, made) and made == contiguous_strides(shape) else made


def _dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Do the elements fill their memory without gaps or overlap?"""
    step = 1
    for s, n in sorted((s, n) for s, n in zip(stride, shape, strict=True) if n != 1):
        if s != step:
            return False
        step *= n
    return True


@op(function=False, saves=(), grad_name="CloneBackward0")
def _clone(self: Array) -> Array:
    """A copy. self: [...] -> [...]"""
    return self


@composite("method")
def clone(self: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with storage of its own, differentiable. [...] -> [...]"""
    return _laid_out(_clone(self), strides_for(memory_format, self))


def _laid_out(tensor: Tensor, stride: tuple[int, ...] | None) -> Tensor:
    tensor._stride = tensor._storage.layout = stride
    return tensor


@composite("method", function=False)
def contiguous(self: Tensor, memory_format: Any = FORMATS["contiguous_format"]) -> Tensor:
    """The tensor itself if it lies so in memory already, else a copy that does."""
    if has_format(self, memory_format):
        return self
    return clone(self, memory_format=memory_format)


def has_format(tensor: Tensor, format: memory_format) -> bool:
    """Does the tensor lie in memory as the format says?"""
    if format.name == "preserve_format":
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    if format.name == "contiguous_format":
        return is_contiguous(size_of(tensor), tensor._stride)
    shape = size_of(tensor)
    if len(shape) != (4 if format.name == "channels_last" else 5):
        return False
    wanted = channels_last_strides(shape) or contiguous_strides(shape)
    have = strides_of(tensor)
    return all(n == 1 or w == h for n, w, h in zip(shape, wanted, have, strict=True))


@op(function=False, saves=(), grad_name="ToCopyBackward0", layout="pointwise")
def _cast(self: Array, dtype: Dtype) -> Array:
    """Elements converted to another type. self: [...] -> [...]"""
    if jnp.iscomplexobj(self) and not jnp.issubdtype(dtype, jnp.complexfloating):
        if dtype == jnp.bool_:
            return self != 0
        self = jnp.real(self)
    if jnp.issubdtype(self.dtype, jnp.floating) and jnp.issubdtype(dtype, jnp.integer):
        return _to_integer(self, jnp.dtype(dtype))
    return self.astype(dtype)


def _to_integer(x: Array, dtype: Any) -> Array:
    """As C compilers for x86 convert: what does not fit a register becomes its lowest number, and
    the low bits of the register are the result (XLA would saturate)."""
    wide = jnp.int64 if dtype.itemsize == 8 or dtype == jnp.uint32 else jnp.int32
    limit = 2.0 ** (8 * jnp.dtype(wide).itemsize - 1)
    fits = (x >= -limit) & (x < limit)
    return jnp.where(fits, x, jnp.asarray(-limit, x.dtype)).astype(wide).astype(dtype)


class ToDeviceBackward(Node):
    """Gradient of a move between devices: a move back."""

    __slots__ = ("place",)

    def apply(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        """The gradient on the device where the input lives."""
        return [None if g is None else move(g, self.place) for g in grads]

    def name(self) -> str:
        """PyTorch's name for it."""
        return "ToCopyBackward0"


def move(self: Tensor, place: Any) -> Tensor:
    """A copy on another device, differentiable. Waits for the value (a barrier)."""
    value = read(self)
    if place is META:
        made = wrap(Value(aval_of(value.aval.shape, value.aval.dtype, META)))
    elif value.aval.place is META:
        raise NotImplementedError(
            "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() "
            "instead of torch.nn.Module.to() when moving module from meta to a different device."
        )
    else:
        made = wrap(moved(value, place))
    if mode.enabled and self._requires:
        node = ToDeviceBackward((gradient_edge(self),), (made._value.aval,))
        node.place = value.aval.place
        made._node, made._requires = node, True
    return _laid_out(
        made, self._stride if self._stride and _dense(size_of(self), self._stride) else None
    )


def convert(
    self: Tensor,
    dtype: dtypes.dtype | None,
    device: Any,
    *,
    copy: bool = False,
    format: memory_format | None = None,
) -> Tensor:
    """`to` with everything spelled out: returns the tensor itself if nothing changes."""
    aval = self._value.aval
    place = aval.place if device is None else place_of(device)
    out = self
    if place is not aval.place:
        out = move(out, place)
    if dtype is not None and dtype.numpy != aval.dtype:
        out = _cast(out, dtype)
    if out is not self:
        return out if format is None else contiguous_in(out, format)
    if copy:
        return clone(self, memory_format=format)
    return self if format is None or _passes_for(self, format) else contiguous_in(self, format)


def _passes_for(tensor: Tensor, format: memory_format) -> bool:
    """Whatever has not its channels last is contiguous enough for a conversion to be none."""
    if format.name != "contiguous_format":
        return False
    return not any(has_format(tensor, FORMATS[f"channels_last{d}"]) for d in ("", "_3d"))


def contiguous_in(self: Tensor, format: memory_format) -> Tensor:
    """`contiguous`, for which preserving the format is no change."""
    return self if format.name == "preserve_format" else contiguous(self, format)


@composite("method", function=False)
def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """To a dtype, a device, both, or those of another tensor."""
    dtype, device, options = parse_to(*args, **kwargs)
    return convert(self, dtype, device, copy=options["copy"], format=options["memory_format"])


def parse_to(*args: Any, **kwargs: Any) -> tuple[dtypes.dtype | None, Any, dict[str, Any]]:
    """The arguments of `to` in all its forms: (dtype, device, other options)."""
    options = {"non_blocking": False, "copy": False, "memory_format": None}
    dtype, device = kwargs.pop("dtype", None), kwargs.pop("device", None)
    rest = list(args)
    if "other" in kwargs:
        rest.insert(0, kwargs.pop("other"))
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
        dtype, device = dtype_of(other), _device_of(other)
    elif rest and isinstance(rest[0], str | Device | int) and not isinstance(rest[0], bool):
        device = rest.pop(0)
        if rest and isinstance(rest[0], dtypes.dtype):
            dtype = rest.pop(0)
        elif rest and rest[0] is None:
            rest.pop(0)
    elif rest and (isinstance(rest[0], dtypes.dtype) or rest[0] in (float, int, bool, complex)):
        dtype = as_dtype(rest.pop(0))
    elif rest and rest[0] is None:
        rest.pop(0)
        if rest and isinstance(rest[0], dtypes.dtype):
            dtype = rest.pop(0)
    for name, value in zip(("non_blocking", "copy"), rest, strict=False):
        options[name] = value
    for name, value in kwargs.items():
        if name not in options:
            raise TypeError(f"to() got an unexpected keyword argument '{name}'")
        options[name] = value
    if rest and not isinstance(rest[0], bool):
        raise TypeError(
            "to() received an invalid combination of arguments - expected a dtype, a device, or "
            f"a tensor, got {type(rest[0]).__name__}"
        )
    return dtype, device, options


def as_dtype(given: Any) -> dtypes.dtype:
    """A dtype from a dtype or a Python type."""
    if isinstance(given, dtypes.dtype):
        return given
    return {
        bool: dtypes.bool_,
        int: dtypes.int64,
        float: dtypes.float64,
        complex: dtypes.complex128,
    }[given]


def _device_of(tensor: Tensor) -> Any:
    return tensor.device


def _caster(name: str, dtype: dtypes.dtype) -> Any:
    def function(self: Tensor, memory_format: Any = None) -> Tensor:
        return convert(self, dtype, None, format=memory_format)

    function.__name__ = name
    function.__doc__ = f"`self.to({dtype!r})`."
    return composite("method", function=False)(function)


for _name, _dtype in [
    *dtypes.ALIASES.items(),
    ("bfloat16", dtypes.bfloat16),
    ("byte", dtypes.uint8),
    ("char", dtypes.int8),
]:
    _caster(_name, _dtype)


@composite("method", function=False)
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.to(other.dtype)` and to its device."""
    return convert(self, dtype_of(other), _device_of(other))


@composite("method", function=False)
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor on the CPU."""
    return convert(self, None, "cpu", format=memory_format)


@composite("method", function=False)
def cuda(
    self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None
) -> Tensor:
    """The tensor on a GPU."""
    return convert(self, None, "cuda" if device is None else device, format=memory_format)


@op(function=False, saves=(), grad_name="CopyBackwards")
def _copied(self: Array, src: Array) -> Array:
    """src in the shape and dtype of self."""
    if jnp.iscomplexobj(src) and not jnp.iscomplexobj(self):
        src = jnp.real(src)
    return jnp.broadcast_to(src.astype(self.dtype), self.shape)


@composite("method", function=False)
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Overwrite with the elements of `src`, broadcast and cast."""
    if not isinstance(src, Tensor):
        raise TypeError(
            f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}"
        )
    check_writable(self)
    read(self)
    if src._value.aval.place is not self._value.aval.place:
        src = move(src, self._value.aval.place)
    return adopt(self, _copied(self, src))


@op(function=False, saves=(), grad_name="FillBackward0")
def _filled(self: Array, value: Array | Scalar) -> Array:
    """Every element the same value. self: [...], value: [] -> [...]"""
    return jnp.full(self.shape, jnp.asarray(value).astype(self.dtype), self.dtype)


@composite("method")
def fill_(self: Tensor, value: Any) -> Tensor:
    """Set every element to a number or a 0-d tensor."""
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(
            f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} "
            "dimensions."
        )
    check_writable(self)
    return adopt(self, _filled(self, value))


@op(function=False, saves=(), grad_name="ZeroBackward0")
def _zeroed(self: Array) -> Array:
    """Zeros like self. [...] -> [...]"""
    return jnp.zeros(self.shape, self.dtype)


@composite("method")
def zero_(self: Tensor) -> Tensor:
    """Set every element to zero."""
    check_writable(self)
    return adopt(self, _zeroed(self))


@composite()
def fill(self: Tensor, value: Any) -> Tensor:
    """A tensor like this one filled with a value."""
    return _filled(self, value)


def result_kind(*operands: Any) -> dtypes.dtype:
    """`torch.result_type` of tensors and numbers."""
    known = [read(o).aval if isinstance(o, Tensor) else o for o in operands]
    return result_dtype(known, dtypes.get_default_dtype())


@composite()
def result_type(tensor1: Any, tensor2: Any) -> dtypes.dtype:
    """The dtype that arithmetic on these tensors or numbers gives."""
    return result_kind(tensor1, tensor2)
