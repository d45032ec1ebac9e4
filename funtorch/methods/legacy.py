"""Methods of Tensor from PyTorch's older days, and those that call Python for each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch.addresses import whole
from funtorch.device import device as _device
from funtorch.methods.table import attribute, method
from funtorch.ops.creation import empty
from funtorch.ops.from_data import tensor
from funtorch.storage import STORAGE_CLASSES, TypedStorage
from funtorch.tensor import Tensor, alias, dtype_of, from_host, size_of, strides_of
from funtorch.views import check_writable


def _never(name: str) -> None:
    def answer(self: Tensor) -> bool:
        return False

    answer.__name__, answer.__doc__ = name, "Never here."
    attribute(answer)


for _name in ("ipu", "maia", "mkldnn", "mps", "mtia", "vulkan", "xla", "xpu"):
    _never(f"is_{_name}")
_never("volatile")


@attribute
def name(self: Tensor) -> None:
    """Always None: tensors have no names."""
    return


@method
def is_distributed(self: Tensor) -> bool:
    """Never."""
    return False


@method
def is_nonzero(self: Tensor) -> bool:
    """Is the one element other than zero?"""
    return bool(self)


@method
def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Of the same shape?"""
    return size_of(self) == size_of(other)


@method
def dim_order(self: Tensor, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """Dimensions from the one with the largest stride to the one with the smallest."""
    if ambiguity_check:
        raise NotImplementedError("dim_order(ambiguity_check=...)")
    own = strides_of(self)
    return tuple(sorted(range(len(own)), key=lambda d: -own[d]))


@method
def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of the same type: of a shape, or with the elements of a list or tensor."""
    kind, where = dtype_of(self), self.device if device is None else _device(device)
    if len(args) == 1 and isinstance(args[0], TypedStorage):
        return alias(args[0]._elements)
    if len(args) == 1 and isinstance(args[0], Tensor):
        return alias(args[0])
    shaped = all(isinstance(a, int) for a in args) or type(args[0]) is type(self.shape)
    if shaped:
        return (
            empty(*args, dtype=kind, device=where) if args else empty(0, dtype=kind, device=where)
        )
    return tensor(args[0], dtype=kind, device=where)


@method
def resize(self: Tensor, *sizes: Any) -> Tensor:
    """Another shape with as many elements, contiguous."""
    wanted = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
    if int(np.prod(wanted)) != self.numel():
        raise RuntimeError(
            f"requested resize to {'x'.join(map(str, wanted))}, but the given tensor has a size of "
            f"{'x'.join(map(str, size_of(self)))} ({self.numel()} elements). resize can only "
            "change the shape of a given tensor, while preserving the number of elements."
        )
    return self.contiguous().view(*wanted)


@method
def resize_as(self: Tensor, tensor: Tensor) -> Tensor:
    """`resize(tensor.size())`."""
    return resize(self, *size_of(tensor))


@method
def record_stream(self: Tensor, stream: Any) -> None:
    """Nothing to note: XLA frees memory when the programs that use it have run."""


@method
def storage(self: Tensor) -> TypedStorage:
    """The memory behind this tensor, as elements of its type."""
    return TypedStorage(whole(self))


@method
def storage_type(self: Tensor) -> type:
    """The old class of its storage, for example FloatStorage."""
    return STORAGE_CLASSES[storage(self).pickle_storage_type()]


@method
def module_load(self: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """What takes this tensor's place when `load_state_dict` loads `other`."""
    return other.detach() if assign else self.detach().copy_(other)


# Python functions, called for each element on the host -----------------------------------------------


def _put(self: Tensor, values: Any) -> Tensor:
    array = np.asarray(values, dtype=dtype_of(self).numpy).reshape(size_of(self))
    self.detach().copy_(from_host(array, device=self.device))
    return self


def _host_only(self: Tensor, name: str, others: tuple[Tensor, ...] = ()) -> None:
    if self.requires_grad:
        raise RuntimeError(
            f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead."
        )
    check_writable(self)
    if self.device.type == "cuda":
        raise TypeError(f"{name} is only implemented on CPU tensors")
    for other in others:
        if dtype_of(other) is not dtype_of(self):
            raise TypeError(f"{name}: expected {self.type()} for 'other' (got {other.type()})")


def _elements(self: Tensor, other: Tensor) -> Any:
    return other.expand(size_of(self)).reshape(-1).tolist()


@method
def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace each element x by callable(x). Waits for the elements."""
    _host_only(self, "apply_")
    if self.is_meta:
        return self
    return _put(self, [callable(x) for x in self.reshape(-1).tolist()])


@method
def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replace each element x by callable(x, y), y from a tensor that is broadcast."""
    _host_only(self, "map_", (tensor,))
    own, other = self.reshape(-1).tolist(), _elements(self, tensor)
    return _put(self, [callable(x, y) for x, y in zip(own, other, strict=True)])


@method
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Tensor:
    """Replace each element by callable(element, x, y)."""
    _host_only(self, "map2_", (x, y))
    columns = (self.reshape(-1).tolist(), _elements(self, x), _elements(self, y))
    return _put(self, [callable(*row) for row in zip(*columns, strict=True)])
