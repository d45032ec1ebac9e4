"""Files of PyTorch before 1.6: five pickles in a row, then the bytes of each storage."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from funtorch.device import CPU
from funtorch.dtypes import uint8
from funtorch.serialization.storages import LoadedStorage

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

Unpickle = Callable[[IO[bytes], Callable[[Any], Any]], Any]
Place = Callable[[LoadedStorage, str], LoadedStorage]


def read(file: IO[bytes], unpickle: Unpickle, place: Place) -> Any:
    """Read such a file. Its storages follow the pickle that needs them: so read that twice."""
    _check_head(file, unpickle)
    body = file.tell()
    kinds: dict[str, tuple[Any, str, int]] = {}

    def note(pid: Any) -> LoadedStorage:
        _, made, key, location, count = pid[:5]
        kind = made.kind or uint8  # an untyped storage counts bytes
        kinds[key] = (made.kind, location, count)
        # Zeros take no memory before someone writes them.
        return LoadedStorage(np.zeros(count, kind.numpy), made.kind, CPU)

    unpickle(file, note)
    keys = unpickle(file, _none_here)
    storages = {key: _storage(file, *kinds[key], place) for key in keys if key in kinds}
    file.seek(body)

    def find(pid: Any) -> LoadedStorage:
        view = pid[5] if len(pid) > 5 else None
        whole = storages[pid[2]]
        if view is None:
            return whole
        _, offset, count = view
        part = whole.memory[offset : offset + count]
        return LoadedStorage(part, whole.kind, whole.device)

    return unpickle(file, find)


def _check_head(file: IO[bytes], unpickle: Unpickle) -> None:
    try:
        magic = unpickle(file, _none_here)
    except Exception as error:
        raise pickle.UnpicklingError(
            "this is no file of torch.save: it is neither a zip archive nor one of the older kind"
        ) from error
    if magic != MAGIC:
        raise RuntimeError("Invalid magic number; corrupt file?")
    protocol = unpickle(file, _none_here)
    if protocol != _PROTOCOL:
        raise RuntimeError(f"Invalid protocol version: {protocol}")
    unpickle(file, _none_here)  # facts about the machine that wrote it


def _none_here(pid: Any) -> Any:
    raise pickle.UnpicklingError(f"a storage where none can be: {pid!r}")


def _storage(file: IO[bytes], kind: Any, location: str, count: int, place: Place) -> LoadedStorage:
    head = file.read(8)
    element = kind or uint8
    size = count * element.itemsize
    data = file.read(size)
    if len(head) != 8 or int.from_bytes(head, "little") != count or len(data) != size:
        raise RuntimeError(f"the file is cut short or damaged: expected a storage of {size} bytes")
    made = LoadedStorage(np.frombuffer(data, element.numpy), kind, CPU)
    return place(made, location)
