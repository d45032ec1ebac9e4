"""`torch.save` and `torch.load`: files that PyTorch reads, and PyTorch's own files."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from funtorch.device import CPU
from funtorch.dtypes import uint8
from funtorch.serialization import archive, legacy
from funtorch.serialization.storages import LoadedStorage, MapLocation, placer
from funtorch.serialization.unpickling import DataUnpickler, StorageType, TrustingUnpickler

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "load",
    "safe_globals",
    "save",
]

FileLike = Any  # str | os.PathLike[str] | IO[bytes]


def save(
    obj: Any,
    f: FileLike,
    pickle_module: Any = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write `obj` to a file that `load`, and PyTorch, read.

    Tensors that share a storage share it in the file too. A path is only replaced once the new
    file is complete. The older format is not written: with _use_new_zipfile_serialization=False
    comes the same zip archive.
    """
    if isinstance(f, str | os.PathLike):
        path = Path(f)
        with archive.replacing(path) as file:
            archive.write(obj, file, path.stem or "archive", pickle_protocol)
        return
    if not hasattr(f, "write"):
        raise AttributeError(
            f"expected 'f' to be string, path, or a file-like object with a 'write' attribute, "
            f"got {type(f).__name__}"
        )
    archive.write(obj, f, "archive", pickle_protocol)


def load(
    f: FileLike,
    map_location: MapLocation = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save`, or PyTorch's, wrote.

    map_location: a device, its name, a dict from saved to wanted names, or a function of
    (storage, location). weights_only: only data (the default); False runs whatever the file asks
    for, so trust its author. mmap: accepted; arrays are copied to XLA's memory in any case.
    """
    trusting = weights_only is False
    if pickle_module is not None and not trusting:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    place = placer(map_location)

    def unpickle(file: IO[bytes], storage: Callable[[Any], Any]) -> Any:
        if trusting:
            return TrustingUnpickler(file, storage, **pickle_load_args).load()
        return _load_data(file, storage)

    if isinstance(f, str | os.PathLike):
        with Path(f).open("rb") as file:
            return _load(file, unpickle, place)
    if not hasattr(f, "read"):
        raise AttributeError(
            "You can only torch.load from a file that is seekable. Please pre-load the data into "
            f"a buffer like io.BytesIO and try to load from it instead; got {type(f).__name__}"
        )
    seekable = getattr(f, "seekable", lambda: hasattr(f, "seek"))()
    return _load(f if seekable else io.BytesIO(f.read()), unpickle, place)


def _load(file: IO[bytes], unpickle: legacy.Unpickle, place: legacy.Place) -> Any:
    start = file.tell()
    head = file.read(4)
    file.seek(start)
    if not head:
        raise EOFError("Ran out of input: the file is empty")
    if head != b"PK\x03\x04":
        return legacy.read(file, unpickle, place)
    if start:
        file = io.BytesIO(file.read())
    reader = archive.Reader(file)
    storages: dict[str, LoadedStorage] = {}

    def find(pid: Any) -> LoadedStorage:
        kind, key, location = _checked(pid)
        if key not in storages:
            memory = reader.memory(key, (kind or uint8).numpy)
            storages[key] = place(LoadedStorage(memory, kind, CPU), location)
        return storages[key]

    if reader.has("constants.pkl"):
        raise RuntimeError(
            "this file is a TorchScript archive, made by torch.jit.save: torch.load reads only "
            "what torch.save wrote"
        )
    return unpickle(io.BytesIO(reader.read("data.pkl")), find)


def _checked(pid: Any) -> tuple[Any, str, str]:
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
        raise pickle.UnpicklingError(f"unknown kind of persistent object in the file: {pid!r}")
    _, made, key, location, _ = pid[:5]
    if not isinstance(made, StorageType) or not isinstance(key, str):
        raise pickle.UnpicklingError(f"the file names an unknown type of storage: {made!r}")
    return made.kind, key, location


def _load_data(file: IO[bytes], storage: Callable[[Any], Any]) -> Any:
    try:
        return DataUnpickler(file, storage, _added_names()).load()
    except KeyError as error:
        raise pickle.UnpicklingError(
            f"Weights only load failed: the file's pickle has the unknown instruction {error}"
        ) from error


# What a user trusts ------------------------------------------------------------------------------

_safe: list[Any] = []


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Allow these classes and functions in files that are loaded with weights_only=True.

    Each is an object, or a pair of an object and the name by which files call it.
    """
    for made in safe_globals:
        if made not in _safe:
            _safe.append(made)


def get_safe_globals() -> list[Any]:
    """What was added by `add_safe_globals`."""
    return list(_safe)


def clear_safe_globals() -> None:
    """Take back all that was added."""
    _safe.clear()


class safe_globals:  # noqa: N801  (PyTorch's name)
    """Allow some classes and functions for a while: `with safe_globals([Config]): ...`"""

    def __init__(self, safe_globals: list[Any]) -> None:
        self.safe_globals = safe_globals
        self._before: list[Any] = []

    def __enter__(self) -> None:
        self._before = get_safe_globals()
        add_safe_globals(self.safe_globals)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _safe[:] = self._before


def _added_names() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {}
    for entry in _safe:
        if isinstance(entry, tuple):
            made, full = entry
            module, _, name = full.rpartition(".")
        else:
            made = entry
            module, name = made.__module__, made.__qualname__
        names[module, name] = made
    return names
