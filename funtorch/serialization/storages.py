"""Storages as files know them: raw bytes with an element type and the name of a place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.copying import owner_of, window
from funtorch.device import device, gpu_count
from funtorch.tensor import Tensor

STORAGE_NAMES = {
    "FloatStorage": dtypes.float32,
    "DoubleStorage": dtypes.float64,
    "HalfStorage": dtypes.float16,
    "BFloat16Storage": dtypes.bfloat16,
    "LongStorage": dtypes.int64,
    "IntStorage": dtypes.int32,
    "ShortStorage": dtypes.int16,
    "CharStorage": dtypes.int8,
    "ByteStorage": dtypes.uint8,
    "BoolStorage": dtypes.bool_,
    "ComplexFloatStorage": dtypes.complex64,
    "ComplexDoubleStorage": dtypes.complex128,
}
"""The storage classes that a file may name; all other types live in an untyped storage."""

NAME_OF = {kind: name for name, kind in STORAGE_NAMES.items()}

MapLocation = Any


class LoadedStorage:
    """One storage of a file. memory: [n], of the storage's type; where: its device.

    Tensors that share it are windows on one funtorch storage, made when the first one is.
    """

    def __init__(
        self, memory: np.ndarray[Any, Any], kind: dtypes.dtype | None, where: device
    ) -> None:
        self.memory = memory
        self.kind = kind
        self.device = where
        self._owner: Tensor | None = None

    @property
    def location(self) -> str:
        """The device as files name it, for example 'cuda:0'."""
        return str(self.device)

    def cpu(self) -> LoadedStorage:
        """The same elements on the CPU."""
        return LoadedStorage(self.memory, self.kind, device("cpu"))

    def cuda(self, index: Any = None) -> LoadedStorage:
        """The same elements on a GPU."""
        where = device("cuda", index or 0) if not isinstance(index, device | str) else device(index)
        return LoadedStorage(self.memory, self.kind, where)

    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.memory.nbytes)

    def tensor(
        self,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        kind: dtypes.dtype | None = None,
    ) -> Tensor:
        """A window on this storage."""
        memory = self.memory
        if kind is not None and self.kind is not kind:
            memory = memory.view(kind.numpy)
        _check_window(memory.size, offset, size, stride)
        if self._owner is None or self._owner._value.aval.dtype != memory.dtype:
            self._owner = owner_of(memory, size, stride, self.device)
        return window(self._owner, size, stride, offset)


def _check_window(count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    if len(size) != len(stride) or offset < 0 or min((*size, *stride, 0)) < 0:
        raise RuntimeError(
            f"a tensor of the file has size {size}, stride {stride} and offset {offset}"
        )
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and reach >= count:
        raise RuntimeError(
            f"a tensor of size {size}, stride {stride} and offset {offset} does not fit into its "
            f"storage of {count} elements: the file is damaged"
        )


def placer(map_location: MapLocation) -> Callable[[LoadedStorage, str], LoadedStorage]:
    """The function that moves a storage, saved at the named location, to where it shall live."""
    if map_location is None:
        return _as_saved
    if isinstance(map_location, dict):
        table = {str(key): str(value) for key, value in map_location.items()}
        return lambda storage, location: _as_saved(storage, table.get(location, location))
    if isinstance(map_location, str | device | int):
        where = str(device(map_location))
        return lambda storage, location: _as_saved(storage, where)
    if not callable(map_location):
        raise TypeError(f"map_location: expected a device, dict or callable, got {map_location!r}")

    def place(storage: LoadedStorage, location: str) -> LoadedStorage:
        placed = map_location(storage, location)
        return _as_saved(storage, location) if placed is None else placed

    return place


def _as_saved(storage: LoadedStorage, location: str) -> LoadedStorage:
    where = device(location)
    if where.type == "cuda" and gpu_count() == 0:
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is "
            "False. If you are running on a CPU-only machine, use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        )
    if where.type == "cuda" and (where.index or 0) >= gpu_count():
        raise RuntimeError(
            f"Attempting to deserialize object on CUDA device {where.index} but "
            f"torch.cuda.device_count() is {gpu_count()}. Use map_location to map your storages "
            "to an existing device."
        )
    return LoadedStorage(storage.memory, storage.kind, where)
