"""What a checkpoint's `.metadata` says, in PyTorch's classes and its pickle, which is read as data only."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, fields
from typing import Any

from funtorch import dtypes
from funtorch.layouts import strided
from funtorch.ops.memory import FORMATS
from funtorch.serialization.pickling import Name, TorchPickler
from funtorch.size import Size

contiguous_format = FORMATS["contiguous_format"]


@dataclass
class ChunkStorageMetadata:
    """A box within a tensor."""

    offsets: Size
    sizes: Size


@dataclass
class TensorProperties:
    """What a tensor has beside its size."""

    dtype: Any = dtypes.float32
    layout: Any = strided
    requires_grad: bool = False
    memory_format: Any = contiguous_format
    pin_memory: bool = False

    def __setstate__(self, state: Any) -> None:
        self.dtype, self.layout, self.requires_grad, self.memory_format, self.pin_memory = state


@dataclass
class TensorStorageMetadata:
    """A tensor, and the boxes in which it was saved."""

    properties: TensorProperties
    size: Size
    chunks: list[ChunkStorageMetadata]


@dataclass
class BytesStorageMetadata:
    """Anything that is no tensor."""


@dataclass(frozen=True)
class MetadataIndex:
    """What a piece is found by: a name, and where in the tensor it begins. index: a hint."""

    fqn: str
    offset: Size | None = None
    index: int | None = field(hash=False, compare=False, default=None)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@dataclass
class _StorageInfo:
    """Where a piece's bytes are."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: Any = None


@dataclass
class StorageMeta:
    """Of which checkpoint."""

    checkpoint_id: Any = None
    save_id: str | None = None
    load_id: str | None = None
    modules: list[str] = field(default_factory=list)


@dataclass
class Metadata:
    """All of it. planner_data: the path in nested containers of each flat name."""

    state_dict_metadata: dict[str, Any]
    planner_data: Any = None
    storage_data: Any = None
    storage_meta: StorageMeta | None = None
    version: str | None = None


_WHERE = "torch.distributed.checkpoint.metadata"
_CLASSES = {
    (_WHERE, kind.__name__): kind
    for kind in (
        *(ChunkStorageMetadata, TensorProperties, TensorStorageMetadata, BytesStorageMetadata),
        *(MetadataIndex, StorageMeta, Metadata),
    )
} | {("torch.distributed.checkpoint.filesystem", "_StorageInfo"): _StorageInfo}
_NAMES = {kind: Name.of(*names) for names, kind in _CLASSES.items()}


class _Pickler(TorchPickler):
    """Writes these classes under PyTorch's names."""

    def reducer_override(self, obj: Any) -> Any:
        name = _NAMES.get(type(obj))
        if name is None:
            return super().reducer_override(obj)
        return name, tuple(getattr(obj, f.name) for f in fields(obj))


def write(metadata: Metadata, file: Any) -> None:
    """Pickle it so that PyTorch reads it."""
    _Pickler(file).dump(metadata)


def _path(*parts: str) -> str:
    return "/".join(parts)


_FUNCTIONS = {
    ("torch", "Size"): Size,
    ("torch.serialization", "_get_layout"): lambda name: strided,
    (_WHERE, "_MEM_FORMAT_ENCODING"): lambda number: contiguous_format,
    ("torch", "contiguous_format"): contiguous_format,
    ("pathlib", "PosixPath"): _path,
    ("pathlib", "WindowsPath"): _path,
}


class _Reader(pickle.Unpickler):
    """Knows these classes and nothing else: a stranger's file runs no code."""

    def find_class(self, module: str, name: str) -> Any:
        found: Any = _CLASSES.get((module, name)) or _FUNCTIONS.get((module, name))
        if found is None and module == "torch" and "." not in name:
            found = dtypes.by_name(name)
        if found is None:
            raise pickle.UnpicklingError(f"a checkpoint's .metadata names {module}.{name}")
        return found


def read(file: Any) -> Metadata:
    """The metadata in a file. Raises pickle.UnpicklingError if there is anything else in it."""
    found = _Reader(file).load()
    if not isinstance(found, Metadata):
        raise pickle.UnpicklingError(f"a checkpoint's .metadata is a {type(found).__name__}")
    return found
