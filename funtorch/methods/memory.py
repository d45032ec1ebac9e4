"""A tensor's window on its storage: where it lies, another size or storage in place."""

from __future__ import annotations

from typing import Any

from funtorch.addresses import address, whole
from funtorch.device import device_of
from funtorch.dispatch import is_contiguous, read
from funtorch.methods.table import METHODS, method
from funtorch.ops import memory
from funtorch.ops._declare import TABLE
from funtorch.storage import TypedStorage, UntypedStorage
from funtorch.tensor import Tensor, contiguous_strides, copy_window, dtype_of, size_of
from funtorch.views import store


@method
def is_contiguous_method(self: Tensor, memory_format: Any = None) -> bool:
    """Does it lie in memory in order (of the format)?"""
    if memory_format is None or memory_format.name == "contiguous_format":
        return is_contiguous(size_of(self), self._stride)
    return memory.has_format(self, memory_format)


METHODS["is_contiguous"] = METHODS.pop("is_contiguous_method")


@method
def storage_offset(self: Tensor) -> int:
    """Elements before the first one, in the storage."""
    return self._offset


@method
def data_ptr(self: Tensor) -> int:
    """Where the first element can be read, 0 if there is none; see `funtorch.addresses`."""
    if self._value.aval.size == 0:
        return 0
    return address(self) + self._offset * self._value.aval.dtype.itemsize


METHODS["const_data_ptr"] = data_ptr


@method
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory behind this tensor."""
    return UntypedStorage(whole(self))


@method
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """The same window on the same storage?"""
    return self._storage is tensor._storage and self._chain == tensor._chain


@method
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor itself: host memory needs no pinning here."""
    return self


@method
def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Never."""
    return False


@method
def share_memory_(self: Tensor) -> Tensor:
    """The tensor itself; other processes get copies."""
    return self


@method
def is_shared(self: Tensor) -> bool:
    """In memory shared with other processes? Never here."""
    return False


@method
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Another shape in place: keeps the elements in order, new ones are zero."""
    from_shape = TABLE["zeros"].facade(
        *sizes, dtype=dtype_of(self), device=device_of(self._value.aval.place)
    )
    wanted = size_of(from_shape)
    if wanted == size_of(self):
        return self
    if self._requires:
        raise RuntimeError("cannot resize variables that require grad")
    flat, need = self.detach().reshape(-1), from_shape.numel()
    kept = (
        flat[:need]
        if flat.numel() >= need
        else TABLE["cat"].facade([flat, from_shape.reshape(-1)[flat.numel() :]])
    )
    copy_window(self, kept.reshape(wanted).clone())
    return self


@method
def resize_as_(self: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """`self.resize_(the_template.size())`."""
    return resize_(self, size_of(the_template))


@method
def set_(self: Tensor, source: Any = None, *rest: Any) -> Tensor:
    """Look at the storage of another tensor, or at a storage; then: (offset, size, stride)."""
    if source is None:
        source = TABLE["empty"].facade(0, dtype=dtype_of(self))
    elif isinstance(source, UntypedStorage):
        source = source._bytes().view(dtype_of(self))
    elif isinstance(source, TypedStorage):
        source = source._elements
    source = source.detach()
    if rest:
        offset, extents, steps = (*rest, None)[:3]
        steps = contiguous_strides(tuple(extents)) if steps is None else steps
        source = TABLE["as_strided"].facade(source, extents, steps, offset)
    copy_window(self, source)
    return self


@method
def _replace(self: Tensor, other: Tensor) -> Tensor:
    """Overwrite the contents with those of `other` (same shape and dtype), outside the tape."""
    store(self, read(other))
    return self
