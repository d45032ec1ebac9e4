"""The .pt file: an uncompressed zip archive of one pickle and the bytes of each storage."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from funtorch.copying import memory_of
from funtorch.serialization.pickling import TorchPickler

_ALIGNMENT = 64
_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20
_ZIP64_LIMIT = (1 << 31) - 1


class _Writer:
    """Adds records to a zip archive so that their bytes begin at multiples of 64."""

    def __init__(self, file: IO[bytes], folder: str) -> None:
        self.zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self.folder = folder

    def add(self, name: str, data: Any) -> None:
        """Write one record. data: bytes-like."""
        view = memoryview(data).cast("B")
        info = zipfile.ZipInfo(f"{self.folder}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
        info.file_size = len(view)
        large = len(view) * 1.05 > _ZIP64_LIMIT
        start = self.zip.start_dir + _LOCAL_HEADER + len(info.filename.encode()) + 4
        padding = -(start + (_ZIP64_EXTRA if large else 0)) % _ALIGNMENT
        info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
        with self.zip.open(info, "w", force_zip64=large) as record:
            record.write(view)


def write(obj: Any, file: IO[bytes], folder: str, protocol: int = 2) -> None:
    """Write `obj` as an archive whose records lie in `folder`."""
    pickled = io.BytesIO()
    pickler = TorchPickler(pickled, protocol)
    pickler.dump(obj)
    writer = _Writer(file, folder)
    with writer.zip:
        writer.add("data.pkl", pickled.getbuffer())
        writer.add(".format_version", b"1")
        writer.add(".storage_alignment", str(_ALIGNMENT).encode())
        writer.add("byteorder", sys.byteorder.encode())
        mark = hashlib.sha256(pickled.getbuffer())
        for ref in pickler.storages.values():
            data = memory_of(ref.storage).view(np.uint8)
            mark.update(data[:4096])
            writer.add(f"data/{ref.key}", data)
        writer.add("version", b"3\n")
        writer.add(".data/serialization_id", str(int(mark.hexdigest()[:30], 16)).encode())


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` only once it is complete."""
    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise RuntimeError(f"Parent directory {target.parent} does not exist.")
    if target.exists() and not target.is_file():
        with target.open("wb") as file:  # a device or a pipe: nothing to take the place of
            yield file
        return
    temporary = target.with_name(f"{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Reader:
    """Reads the records of an archive. Raises RuntimeError for a damaged or foreign one."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self.zip = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise RuntimeError(
                f"PytorchStreamReader failed reading zip archive: {error} (the file is cut short "
                "or damaged)"
            ) from error
        found = [n for n in self.zip.namelist() if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(found) != 1:
            raise RuntimeError(
                "this zip archive holds no data.pkl: it was not written by torch.save"
            )
        self.folder = found[0].removesuffix("data.pkl")
        order = self.read("byteorder").decode() if self.has("byteorder") else "little"
        self.swap = order.strip() != sys.byteorder

    def has(self, name: str) -> bool:
        """Is there such a record?"""
        return f"{self.folder}{name}" in self.zip.NameToInfo

    def read(self, name: str) -> bytes:
        """The bytes of a record, checked against their checksum."""
        try:
            return self.zip.read(f"{self.folder}{name}")
        except (KeyError, zipfile.BadZipFile, EOFError) as error:
            raise RuntimeError(
                f"PytorchStreamReader failed reading file {name}: {error} (the file is damaged)"
            ) from error

    def memory(
        self, key: str, kind: np.dtype[Any], folder: str = "data"
    ) -> np.ndarray[Any, Any]:
        """The elements of a storage: [n]"""
        data = self.read(f"{folder}/{key}")
        if len(data) % kind.itemsize:
            raise RuntimeError(f"storage {key} holds {len(data)} bytes, no whole number of {kind}")
        memory = np.frombuffer(data, kind)
        return memory.byteswap() if self.swap else memory


class PyTorchFileReader:
    """`torch.PyTorchFileReader`: the records of a file that `torch.save` wrote, by name."""

    def __init__(self, file: str | os.PathLike[str] | IO[bytes]) -> None:
        source = Path(file).open("rb") if isinstance(file, str | os.PathLike) else file  # noqa: SIM115
        self._reader = Reader(source)

    def get_all_records(self) -> list[str]:
        """All names."""
        folder = self._reader.folder
        return [n.removeprefix(folder) for n in self._reader.zip.namelist() if n.startswith(folder)]

    def has_record(self, name: str) -> bool:
        """Is there such a record?"""
        return self._reader.has(name)

    def get_record(self, name: str) -> bytes:
        """A record's bytes. Raises RuntimeError if there is none, or it is damaged."""
        return self._reader.read(name)

    def get_record_size(self, name: str) -> int:
        """How many bytes a record has."""
        return len(self.get_record(name))
