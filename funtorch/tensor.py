"""Tensor and Storage: mutable windows on immutable values.

A `Storage` holds the newest value and a version counter; a `Tensor` is a window on it: a chain of view
steps, sizes and strides, and its place on the autograd tape. This file holds the data structure only;
how ops reach it is in `dispatch`, views in `views`, and the methods are bound in `_surface`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from funtorch import dtypes
from funtorch.device import device, device_of, place_of
from funtorch.lowering import META, Value, aligned_copy, aval_of, constant
from funtorch.overrides import PLAIN, TENSOR, declared, default_torch_function
from funtorch.size import Size

if TYPE_CHECKING:
    from funtorch.tape import Node
    from funtorch.views import ViewStep


class Storage:
    """A mutable cell with one immutable value.

    layout: strides of the value as PyTorch would lay it out, None for contiguous.
    host: a NumPy array that shares this memory with the world outside, or None (see `hostmem`).
    version: counted up whenever windows must look again. unwritten: the versions among them that
    nobody wrote; they came from sharing the memory with the host.
    """

    __slots__ = ("__weakref__", "host", "layout", "unwritten", "value", "version")

    def __init__(self, value: Value, layout: tuple[int, ...] | None = None) -> None:
        self.value = value
        self.version = 0
        self.host: Any = None
        self.layout = layout
        self.unwritten: tuple[int, ...] = ()

    def writes_since(self, version: int) -> int:
        """How many writes in place there were after a version."""
        return self.version - version - sum(v > version for v in self.unwritten)


class Tensor:
    """A multi-dimensional array with PyTorch's interface, recorded and compiled by XLA."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_accumulator",
        "_base_tensor",
        "_chain",
        "_grad",
        "_hooks",
        "_inference",
        "_many",
        "_node",
        "_offset",
        "_out",
        "_requires",
        "_seen",
        "_storage",
        "_stride",
        "_value",
    )

    _storage: Storage
    _value: Value
    _seen: int
    _chain: tuple[ViewStep, ...]
    _stride: tuple[int, ...] | None
    _offset: int
    _base_tensor: Tensor | None
    _node: Node | None
    _out: int
    _requires: bool
    _grad: Tensor | None
    _accumulator: Any
    _hooks: Any
    _inference: bool
    _many: bool  # one of several views that one call returned

    __array_priority__ = 1000

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Tensor or not (len(args) == 1 and isinstance(args[0], Tensor)):
            from_legacy = legacy_constructor[0]
            made = from_legacy(*args, **kwargs)
        else:
            made = alias(args[0])
        return made if cls is Tensor else as_subclass(made, cls)

    def __init_subclass__(cls, watched: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if watched:
            declared(cls)

    __torch_function__ = classmethod(default_torch_function)


PLAIN.add(Tensor)
TENSOR.append(Tensor)


legacy_constructor: list[Any] = [None]
"""What `Tensor(2, 3)` and `Tensor([1, 2])` call; set by `ops.from_data`, which stands above."""

_new = object.__new__


def wrap(value: Value, stride: tuple[int, ...] | None = None) -> Tensor:
    """A new tensor with a storage of its own. stride None: contiguous."""
    made: Tensor = _new(Tensor)
    made._storage = Storage(value, stride)
    made._value = value
    made._seen = 0
    made._chain = ()
    made._stride = stride
    made._offset = 0
    made._base_tensor = None
    made._node = None
    made._out = 0
    made._requires = False
    made._grad = None
    made._accumulator = None
    made._hooks = None
    made._inference = False
    made._many = False
    return made


def alias(source: Tensor) -> Tensor:
    """Another window on the same storage, sharing everything but autograd (detach)."""
    made: Tensor = _new(Tensor)
    copy_window(made, source)
    made._base_tensor = None
    made._node = None
    made._out = 0
    made._requires = False
    made._grad = None
    made._accumulator = None
    made._hooks = None
    made._inference = source._inference
    made._many = False
    return made


def copy_window(target: Tensor, source: Tensor) -> None:
    """Make `target` look at what `source` looks at."""
    target._storage = source._storage
    target._value = source._value
    target._seen = source._seen
    target._chain = source._chain
    target._stride = source._stride
    target._offset = source._offset


def as_subclass(source: Tensor, cls: type) -> Any:
    """The same tensor (autograd and all) as an instance of a subclass."""
    made = _new(cls)
    for name in Tensor.__slots__:
        if name not in ("__dict__", "__weakref__"):
            setattr(made, name, getattr(source, name))
    return made


def size_of(tensor: Tensor) -> tuple[int, ...]:
    """Shape as a plain tuple."""
    return tensor._value.aval.shape


def dtype_of(tensor: Tensor) -> dtypes.dtype:
    """dtype of a tensor."""
    return dtypes.of(tensor._value.aval.dtype)


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a C-ordered array, in elements; extents of 0 count as 1, as in PyTorch."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def strides_of(tensor: Tensor) -> tuple[int, ...]:
    """Strides in elements."""
    if tensor._stride is not None:
        return tensor._stride
    return contiguous_strides(tensor._value.aval.shape)


def from_host(
    array: Any,
    *,
    device: device | None = None,
    requires_grad: bool = False,
    owned: bool = False,
) -> Tensor:
    """A tensor with a copy of a NumPy array, or with an owned one, to which nobody else writes."""
    array = np.asarray(array)
    dtypes.of(array.dtype)
    place = place_of(device)
    made = wrap(host_value(array, place, owned))
    made._requires = requires_grad
    return made


def host_value(array: np.ndarray[Any, Any], place: Any, owned: bool = False) -> Value:
    """A value with (a copy of) a NumPy array; on meta, without its data."""
    if place is META:
        return Value(aval_of(array.shape, array.dtype, META))
    # JAX may alias an aligned NumPy buffer instead of copying it: hand over one of our own.
    return constant(array if owned else aligned_copy(array), place)


def shape_of(tensor: Tensor) -> Size:
    """Shape as a `Size`."""
    return Size(tensor._value.aval.shape)


def device_of_tensor(tensor: Tensor) -> device:
    """The torch device a tensor lives on."""
    return device_of(tensor._value.aval.place)
