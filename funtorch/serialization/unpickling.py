"""Pickles of PyTorch to objects: a machine that knows only data, and a trusting one."""

from __future__ import annotations

import codecs
import importlib
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

from funtorch import dtypes
from funtorch.device import device
from funtorch.layouts import Layout, by_name, sparse_coo
from funtorch.nn.parameter import Parameter
from funtorch.ops.creation import empty
from funtorch.ops.memory import FORMATS
from funtorch.serialization.storages import STORAGE_NAMES, LoadedStorage
from funtorch.size import Size
from funtorch.sparse.making import sparse_compressed_tensor, sparse_coo_tensor
from funtorch.tensor import Tensor, as_subclass

Globals = dict[tuple[str, str], Any]


class StorageType:
    """The class of a storage, as a pickle names it. kind None: untyped, counted in bytes."""

    def __init__(self, kind: dtypes.dtype | None) -> None:
        self.kind = kind


# What PyTorch's functions in a pickle do ---------------------------------------------------------


def _rebuild_v2(
    storage: LoadedStorage,
    offset: int,
    size: Any,
    stride: Any,
    requires_grad: bool = False,
    hooks: Any = None,
    metadata: dict[str, bool] | None = None,
) -> Tensor:
    made = storage.tensor(offset, tuple(size), tuple(stride))
    if metadata and metadata.get("conj"):
        made = made.conj()
    if metadata and metadata.get("neg"):
        made = -made
    made._requires = bool(requires_grad)
    return made


def _rebuild_v1(storage: LoadedStorage, offset: int, size: Any, stride: Any) -> Tensor:
    return _rebuild_v2(storage, offset, size, stride)


def _rebuild_v3(
    storage: LoadedStorage,
    offset: int,
    size: Any,
    stride: Any,
    requires_grad: bool,
    hooks: Any,
    kind: dtypes.dtype,
    metadata: Any = None,
) -> Tensor:
    made = storage.tensor(offset, tuple(size), tuple(stride), kind)
    made._requires = bool(requires_grad)
    return made


def _rebuild_meta(kind: dtypes.dtype, size: Any, stride: Any, requires_grad: bool) -> Tensor:
    made: Tensor = empty(tuple(size), dtype=kind, device="meta")
    made._requires = bool(requires_grad)
    return made


def _rebuild_parameter(data: Tensor, requires_grad: bool, hooks: Any = None) -> Parameter:
    made: Parameter = Parameter(data, requires_grad)
    return made


def _rebuild_parameter_with_state(
    data: Tensor, requires_grad: bool, hooks: Any, state: dict[str, Any]
) -> Parameter:
    made = _rebuild_parameter(data, requires_grad)
    made.__dict__.update(state)
    return made


def _rebuild_from_type(
    function: Callable[..., Tensor], kind: type, arguments: Any, state: Any
) -> Any:
    made = function(*arguments)
    if kind is not Tensor:
        made = as_subclass(made, kind)
    if isinstance(state, dict):
        made.__dict__.update(state)
    return made


def _rebuild_sparse(layout: Layout, parts: tuple[Any, ...]) -> Any:
    if layout is sparse_coo:
        places, values, size, *unique = parts
        return sparse_coo_tensor(places, values, size, is_coalesced=bool(unique and unique[0]))
    return sparse_compressed_tensor(*parts, layout=layout)


def _torch_names() -> Globals:
    names: Globals = {
        ("torch._utils", "_rebuild_tensor"): _rebuild_v1,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_v2,
        ("torch._utils", "_rebuild_tensor_v3"): _rebuild_v3,
        ("torch._utils", "_rebuild_meta_tensor_no_storage"): _rebuild_meta,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter_with_state,
        ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
        ("torch._utils", "_rebuild_sparse_tensor"): _rebuild_sparse,
        ("torch.serialization", "_get_layout"): by_name,
        ("torch", "Tensor"): Tensor,
        ("torch", "Size"): Size,
        ("torch", "device"): device,
        ("torch.nn.parameter", "Parameter"): Parameter,
        ("torch.storage", "UntypedStorage"): StorageType(None),
        ("torch", "UntypedStorage"): StorageType(None),
    }
    names |= {("torch", name): StorageType(kind) for name, kind in STORAGE_NAMES.items()}
    names |= {("torch.cuda", name): StorageType(kind) for name, kind in STORAGE_NAMES.items()}
    names |= {("torch", kind.name): kind for kind in dtypes.iter_dtypes().values()}
    names |= {("torch", name): made for name, made in FORMATS.items()}
    return names


TORCH_NAMES = _torch_names()

PLAIN_NAMES: Globals = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
    ("_codecs", "encode"): codecs.encode,
    **{
        (module, made.__name__): made
        for module in ("builtins", "__builtin__")
        for made in (set, complex, bytearray)
    },
}

_NOT_CALLABLE = (StorageType, dtypes.dtype)


# The machine that knows only data ----------------------------------------------------------------


class DataUnpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Reads pickles that hold data only: no global beyond a fixed list, plus what the user adds.

    It is Python's unpickler in Python with its table of instructions cut down. Those that look
    classes up by other ways (INST, OBJ, EXT) are gone; those that call or change an object
    (REDUCE, NEWOBJ, BUILD) first look who it is.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        code: action
        for code, action in pickle._Unpickler.dispatch.items()  # type: ignore[attr-defined]
        if bytes([code])
        not in (
            pickle.INST,
            pickle.OBJ,
            pickle.EXT1,
            pickle.EXT2,
            pickle.EXT4,
            pickle.NEWOBJ_EX,
            pickle.PERSID,
        )
    }

    def __init__(self, file: Any, storage: Callable[[Any], Any], added: Globals) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage
        self._known = {**PLAIN_NAMES, **TORCH_NAMES, **added}
        self._callable = {
            id(made) for made in self._known.values() if not isinstance(made, _NOT_CALLABLE)
        }
        self._added = tuple(made for made in added.values() if isinstance(made, type))

    def find_class(self, module: str, name: str) -> Any:
        """A global of the list. Raises UnpicklingError for every other."""
        found = self._known.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(
                f"Weights only load failed: the file names the global {module}.{name}, which is "
                "not allowed by default, since loading it may run code. If you trust the file, "
                f"use `torch.serialization.add_safe_globals([{name}])`, or load it with "
                "weights_only=False."
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        """A storage."""
        return self._storage(pid)

    def load_reduce(self) -> None:
        """Call an allowed function."""
        arguments = self.stack.pop()
        function = self.stack[-1]
        self._check(function, "REDUCE")
        self.stack[-1] = function(*arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self) -> None:
        """Make an instance of an allowed class."""
        arguments = self.stack.pop()
        cls = self.stack[-1]
        self._check(cls, "NEWOBJ")
        self.stack[-1] = cls.__new__(cls, *arguments)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_build(self) -> None:
        """Set the attributes of an instance of an allowed class."""
        target = self.stack[-2]
        if isinstance(target, self._added) and not isinstance(target, type):
            super().load_build()
            return
        state = self.stack.pop()
        if not isinstance(target, OrderedDict | Tensor) or not isinstance(state, dict):
            raise pickle.UnpicklingError(
                f"Weights only load failed: the file sets attributes of a {type(target).__name__}"
            )
        target.__dict__.update(state)

    dispatch[pickle.BUILD[0]] = load_build

    def _check(self, made: Any, instruction: str) -> None:
        if id(made) not in self._callable:
            raise pickle.UnpicklingError(
                f"Weights only load failed: the file calls {made!r} ({instruction}), which is not "
                "on the list of safe globals"
            )


class TrustingUnpickler(pickle.Unpickler):
    """Reads any pickle: names of torch mean funtorch, all others what Python finds."""

    def __init__(self, file: Any, storage: Callable[[Any], Any], **options: Any) -> None:
        super().__init__(file, **options)
        self._storage = storage

    def persistent_load(self, pid: Any) -> Any:
        """A storage."""
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        """The object of this name, in funtorch if the file says torch."""
        found = TORCH_NAMES.get((module, name))
        if found is not None:
            return found
        if module == "torch" or module.startswith("torch."):
            return _in_funtorch(module, name)
        return super().find_class(module, name)


def _in_funtorch(module: str, name: str) -> Any:
    """torch.nn.modules.linear.Linear -> funtorch.nn.Linear: the first package that has it."""
    parts = ["funtorch", *module.split(".")[1:]]
    while parts:
        try:
            return getattr(importlib.import_module(".".join(parts)), name)
        except (ImportError, AttributeError):
            parts.pop()
    raise pickle.UnpicklingError(f"the file names {module}.{name}, which funtorch does not have")
