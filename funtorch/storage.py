"""Storages as users see them: the memory behind tensors, as bytes or as elements of one type."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.addresses import address, whole
from funtorch.device import device_of
from funtorch.ops.creation import empty
from funtorch.ops.from_data import Bytes, from_numpy, tensor
from funtorch.tensor import Tensor, dtype_of

ELEMENT_TYPES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "uint8": "Byte",
    "int8": "Char",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "bool": "Bool",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}
"""The old names of element types, as in `FloatTensor` and `FloatStorage`."""


class UntypedStorage(Bytes):
    """The memory behind tensors as bytes; equal for all that share it. `UntypedStorage(n)`: new."""

    def __init__(self, size: Any = 0, *, device: Any = None) -> None:
        made = size if isinstance(size, Tensor) else empty(size, dtype=dtypes.uint8, device=device)
        self._elements = made if made.dim() == 1 else whole(made)
        self._storage = made._storage

    @staticmethod
    def from_file(filename: str, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The bytes of a file, read when they are used. shared: writes go to the file.

        Raises RuntimeError if there is no such file, or too few bytes in it.
        """
        return _Mapped(mapped(filename, shared, nbytes), shared)

    def _bytes(self) -> Tensor:
        return self._elements.view(dtypes.uint8)

    as_bytes = _bytes

    def untyped(self) -> UntypedStorage:
        """Itself."""
        return self

    @property
    def device(self) -> Any:
        """Where it lives."""
        return device_of(self._storage.value.aval.place)

    @property
    def is_cuda(self) -> bool:
        """On a GPU?"""
        return bool(self.device.type == "cuda")

    def data_ptr(self) -> int:
        """Where the bytes can be read; see `funtorch.addresses`."""
        return address(self._elements)

    def nbytes(self) -> int:
        """Bytes held."""
        return self._storage.value.aval.nbytes

    size = __len__ = nbytes

    def element_size(self) -> int:
        """1: these are bytes."""
        return 1

    def __getitem__(self, index: Any) -> Any:
        found = self._bytes()[index]
        return UntypedStorage(found) if isinstance(index, slice) else found.item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._bytes()[index] = value

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def tolist(self) -> list[int]:
        """The bytes. Waits for them."""
        found: list[int] = self._bytes().tolist()
        return found

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage(self._bytes().clone())

    def copy_(self, source: UntypedStorage, non_blocking: bool | None = None) -> UntypedStorage:
        """Overwrite with the bytes of another."""
        self._bytes().copy_(source._bytes())
        return self

    def cpu(self) -> UntypedStorage:
        """On the CPU; itself if it is there."""
        return UntypedStorage(self._bytes().cpu()) if self.is_cuda else self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self._storage is other._storage

    def __hash__(self) -> int:
        return id(self._storage)

    def __repr__(self) -> str:
        rows = "\n".join(f" {value}" for value in self.tolist())
        return f"{rows}\n[torch.storage.UntypedStorage(device={self.device}) of size {len(self)}]"


class _Mapped(UntypedStorage):
    """Bytes of a file. A tensor of some of them has memory of its own, unless they are shared."""

    def __init__(self, array: np.ndarray[Any, Any], shared: bool) -> None:
        self._array, self._shared = array, shared

    @functools.cached_property
    def _elements(self) -> Tensor:  # type: ignore[override]
        return self.as_bytes()

    @property
    def _storage(self) -> Any:  # type: ignore[override]
        return self._elements._storage

    def as_bytes(self) -> Tensor:
        """The bytes as a tensor. -> [n] uint8"""
        made: Tensor = from_numpy(self._array if self._shared else np.array(self._array))
        return made

    def nbytes(self) -> int:
        """Bytes held."""
        return self._array.nbytes

    size = __len__ = nbytes

    def __getitem__(self, index: Any) -> Any:
        found = self._array[index]
        return _Mapped(found, self._shared) if isinstance(index, slice) else int(found)


def mapped(filename: str, shared: bool, nbytes: int) -> np.ndarray[Any, Any]:
    """The first bytes of a file. shared: writing goes to the file, which is made long enough."""
    path = os.fspath(filename)
    mode = "read-write" if shared else "read-only"
    try:
        with Path(path).open("r+b" if shared else "rb") as file:
            held = os.fstat(file.fileno()).st_size
            if held < nbytes and shared:
                file.truncate(nbytes)
    except OSError as error:
        raise RuntimeError(
            f"unable to open file <{path}> in {mode} mode: {error.strerror} ({error.errno})"
        ) from error
    if held < nbytes and not shared:
        raise RuntimeError(
            f"file <{path}> size <{held}> is smaller than the required mapping size <{nbytes}>"
        )
    if not nbytes:
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, "r+" if shared else "c", shape=(nbytes,)).view(np.ndarray)


class TypedStorage:
    """The memory behind tensors as elements of one type. `TypedStorage(n or list, dtype=...)`: new."""

    _dtype: dtypes.dtype | None = None

    def __init__(
        self,
        *args: Any,
        wrap_storage: UntypedStorage | None = None,
        dtype: dtypes.dtype | None = None,
        device: Any = None,
    ) -> None:
        kind = self._dtype or dtype or dtypes.get_default_dtype()
        if len(args) > 1:
            raise TypeError(f"expected a size, a list or a storage, got {len(args)} arguments")
        if wrap_storage is not None:
            self._elements = wrap_storage._bytes().view(kind)
        elif args and isinstance(args[0], Tensor):
            self._elements = args[0]
        elif not args or isinstance(args[0], int):
            self._elements = empty(args[0] if args else 0, dtype=kind, device=device)
        else:
            self._elements = tensor(list(args[0]), dtype=kind, device=device)

    @property
    def dtype(self) -> dtypes.dtype:
        """The type of the elements."""
        return dtype_of(self._elements)

    @property
    def device(self) -> Any:
        """Where it lives."""
        return self._elements.device

    @property
    def is_cuda(self) -> bool:
        """On a GPU?"""
        return bool(self.device.type == "cuda")

    @property
    def is_sparse(self) -> bool:
        """Never."""
        return False

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return UntypedStorage(self._elements)

    def size(self) -> int:
        """Number of elements."""
        return int(self._elements.numel())

    __len__ = size

    def nbytes(self) -> int:
        """Bytes held."""
        return self.size() * self.element_size()

    def element_size(self) -> int:
        """Bytes per element."""
        return int(self._elements.element_size())

    def data_ptr(self) -> int:
        """Where the elements can be read; see `funtorch.addresses`."""
        return int(self._elements.data_ptr())

    def pickle_storage_type(self) -> str:
        """The class's old name, for example 'FloatStorage'."""
        return f"{ELEMENT_TYPES[self.dtype.name]}Storage"

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The old name of the type, for example 'torch.FloatStorage'."""
        if dtype is not None:
            raise NotImplementedError("TypedStorage.type(dtype): use .float(), .double() ...")
        return f"torch.{'cuda.' if self.is_cuda else ''}{self.pickle_storage_type()}"

    def _at(self, index: Any) -> int:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} out of range for storage of size {len(self)}")
        return int(index)

    def __getitem__(self, index: int) -> Any:
        return self._elements[self._at(index)].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements[index if isinstance(index, slice) else self._at(index)] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def tolist(self) -> list[Any]:
        """The elements. Waits for them."""
        found: list[Any] = self._elements.tolist()
        return found

    def fill_(self, value: Any) -> TypedStorage:
        """Overwrite every element."""
        self._elements.fill_(value)
        return self

    def copy_(self, source: TypedStorage, non_blocking: bool | None = None) -> TypedStorage:
        """Overwrite with the elements of another."""
        self._elements.copy_(source._elements)
        return self

    def clone(self) -> TypedStorage:
        """A copy."""
        return TypedStorage(self._elements.clone())

    def cpu(self) -> TypedStorage:
        """On the CPU."""
        return TypedStorage(self._elements.cpu())

    def cuda(self, device: Any = None, non_blocking: bool = False) -> TypedStorage:
        """On a GPU."""
        return TypedStorage(self._elements.cuda(device))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TypedStorage) and self._elements._storage is other._elements._storage
        )

    def __hash__(self) -> int:
        return id(self._elements._storage)

    def __repr__(self) -> str:
        rows = "\n".join(f" {value}" for value in self.tolist())
        facts = f"dtype={self.dtype!r}, device={self.device}"
        return f"{rows}\n[torch.storage.TypedStorage({facts}) of size {len(self)}]"


def _converting(name: str) -> Any:
    def convert(self: TypedStorage) -> TypedStorage:
        return TypedStorage(self._elements.to(dtypes.by_name(name)))

    convert.__doc__ = f"A copy as {name}; shares memory if it is that already."
    return convert


for _name, _short in ELEMENT_TYPES.items():
    _method = {"ComplexFloat": "complex_float", "ComplexDouble": "complex_double"}
    setattr(TypedStorage, _method.get(_short, _short.lower()), _converting(_name))


class _OldName(type):
    """`isinstance(storage, FloatStorage)` asks for the element type."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls._dtype  # type: ignore[attr-defined]

    def __call__(cls, *args: Any, **options: Any) -> TypedStorage:
        return TypedStorage(*args, dtype=cls._dtype, **options)  # type: ignore[attr-defined]


STORAGE_CLASSES = {
    f"{short}Storage": _OldName(
        f"{short}Storage", (), {"_dtype": dtypes.by_name(name), "__module__": "torch"}
    )
    for name, short in ELEMENT_TYPES.items()
}
"""FloatStorage, LongStorage and so on."""


def is_storage(obj: Any, /) -> bool:
    """Is it a storage?"""
    return isinstance(obj, UntypedStorage | TypedStorage)
