"""Objects to pickles that PyTorch reads: its names for tensors, storages, dtypes and devices."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any, ClassVar

from funtorch.device import device
from funtorch.dispatch import read
from funtorch.dtypes import dtype
from funtorch.layouts import Layout
from funtorch.lowering import META
from funtorch.nn.parameter import Parameter
from funtorch.ops.memory import memory_format
from funtorch.serialization.storages import NAME_OF
from funtorch.size import Size
from funtorch.sparse.compressed import CompressedTensor
from funtorch.sparse.coo import CooTensor
from funtorch.tensor import Storage, Tensor, device_of_tensor, dtype_of, size_of, strides_of


class Name:
    """A global of PyTorch, to be written by name only. Callable, since pickle asks for that."""

    _known: ClassVar[dict[tuple[str, str], Name]] = {}

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.module}.{self.name} stands for a name in a file only")

    @classmethod
    def of(cls, module: str, name: str) -> Name:
        """The one object for this name, so that pickle's memo finds it again."""
        return cls._known.setdefault((module, name), cls(module, name))


class StorageRef:
    """A storage within a pickle: written as its number, its bytes go beside the pickle."""

    def __init__(self, storage: Storage, kind: dtype, key: str, location: str) -> None:
        self.storage = storage
        self.kind = kind
        self.key = key
        self.location = location

    def persistent_id(self) -> tuple[Any, ...]:
        """What stands in the pickle."""
        aval = self.storage.value.aval
        name = NAME_OF.get(self.kind)
        if name is None:
            kind, count = Name.of("torch.storage", "UntypedStorage"), aval.nbytes
        else:
            kind, count = Name.of("torch", name), aval.nbytes // self.kind.itemsize
        return ("storage", kind, self.key, self.location, count)


class TorchPickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes a pickle in PyTorch's names and collects the storages it mentions.

    This is Python's own pickler in Python: only that one lets a global be written whose module
    (torch) is not there.
    """

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, file: Any, protocol: int = 2) -> None:
        super().__init__(file, protocol)
        self.storages: dict[int, StorageRef] = {}

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Save one object; dtypes and memory formats are globals in PyTorch."""
        if type(obj) is dtype or type(obj) is memory_format:
            obj = Name.of("torch", obj.name)
        super().save(obj, save_persistent_id)

    def save_name(self, obj: Name) -> None:
        """Write a global."""
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    dispatch[Name] = save_name

    def persistent_id(self, obj: Any) -> Any:
        """Storages stand outside of the pickle."""
        return obj.persistent_id() if type(obj) is StorageRef else None

    def reducer_override(self, obj: Any) -> Any:
        """Say tensors, sizes and devices in PyTorch's words."""
        if isinstance(obj, Tensor):
            return self._reduce_any(obj)
        if type(obj) is Layout:
            return Name.of("torch.serialization", "_get_layout"), (repr(obj),)
        if type(obj) is Size:
            return Name.of("torch", "Size"), (tuple(obj),)
        if type(obj) is device:
            known = (obj.type,) if obj.index is None else (obj.type, obj.index)
            return Name.of("torch", "device"), known
        return NotImplemented

    def _reduce_any(self, tensor: Tensor) -> Any:
        if isinstance(tensor, CooTensor | CompressedTensor):
            return self._reduce_sparse(tensor)
        if isinstance(tensor, Parameter):
            name, inner = "_rebuild_parameter", tensor.detach()
            arguments: tuple[Any, ...] = (inner, tensor.requires_grad, OrderedDict())
            if tensor.__dict__:
                name, arguments = f"{name}_with_state", (*arguments, dict(tensor.__dict__))
            return Name.of("torch._utils", name), arguments
        function, arguments = self._reduce_tensor(tensor)
        if type(tensor) is not Tensor or tensor.__dict__:
            kind: Any = type(tensor)
            kind = Name.of("torch", "Tensor") if kind is Tensor else kind
            state = dict(tensor.__dict__)
            rebuild = Name.of("torch._tensor", "_rebuild_from_type_v2")
            return rebuild, (function, kind, arguments, state)
        return function, arguments

    def _reduce_sparse(self, tensor: Any) -> Any:
        inner, size = tensor._inner.detach(), Size(size_of(tensor))
        if isinstance(tensor, CooTensor):
            parts: tuple[Any, ...] = (tensor._places, inner, size, tensor.is_coalesced())
        else:
            parts = (tensor._pointers, tensor._places, inner, size)
        return Name.of("torch._utils", "_rebuild_sparse_tensor"), (tensor._kind, parts)

    def _reduce_tensor(self, tensor: Tensor) -> tuple[Name, tuple[Any, ...]]:
        kind, size, stride = dtype_of(tensor), size_of(tensor), strides_of(tensor)
        if tensor._value.aval.place is META:
            name = Name.of("torch._utils", "_rebuild_meta_tensor_no_storage")
            return name, (kind, size, stride, tensor.requires_grad)
        if tensor.is_conj():
            needs = tensor.requires_grad
            tensor = tensor.detach().clone().requires_grad_(needs)
            stride = strides_of(tensor)
        read(tensor)
        ref = self._ref(tensor, kind)
        shared = (ref, tensor._offset, size, stride, tensor.requires_grad, OrderedDict())
        if kind in NAME_OF:
            return Name.of("torch._utils", "_rebuild_tensor_v2"), shared
        return Name.of("torch._utils", "_rebuild_tensor_v3"), (*shared, kind)

    def _ref(self, tensor: Tensor, kind: dtype) -> StorageRef:
        storage = tensor._storage
        ref = self.storages.get(id(storage))
        if ref is None:
            where = device_of_tensor(tensor)
            location = f"cuda:{where.index or 0}" if where.type == "cuda" else where.type
            ref = StorageRef(storage, kind, str(len(self.storages)), location)
            self.storages[id(storage)] = ref
        elif ref.kind is not kind:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different "
                f"types ({ref.kind} and {kind})"
            )
        return ref
