"""Pieces of states in a folder: `__<rank>_0.distcp`, each piece as `torch.save` writes it."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from funtorch import serialization
from funtorch.distributed.checkpoint import metadata as meta
from funtorch.serialization import archive

__all__ = ["FileSystemReader", "FileSystemWriter"]


class StorageWriter:
    """Where pieces are written. Subclass it for other places than folders."""

    def write_pieces(self, rank: int, pieces: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
        """Write (index, object) pairs; returns where each is."""
        raise NotImplementedError

    def finish(self, metadata: meta.Metadata) -> None:
        """Write what is known of all pieces. (One process does.)"""
        raise NotImplementedError


class StorageReader:
    """Where pieces are read from."""

    def read_metadata(self) -> meta.Metadata:
        """What is known of all pieces."""
        raise NotImplementedError

    def read_piece(self, where: Any) -> Any:
        """One piece: data only."""
        raise NotImplementedError


class FileSystemWriter(StorageWriter):
    """Writes into a folder, which PyTorch reads too."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        single_file_per_rank: bool = True,
        sync_files: bool = True,
        thread_count: int = 1,
        per_thread_copy_ahead: int = 10_000_000,
        cache_staged_state_dict: bool = False,
        overwrite: bool = True,
    ) -> None:
        self.path, self._sync, self._overwrite = Path(path), sync_files, overwrite

    def write_pieces(self, rank: int, pieces: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._overwrite and (self.path / ".metadata").exists():
            raise RuntimeError(f"Checkpoint already exists and overwrite=False: {self.path}")
        found: dict[Any, Any] = {}
        name = f"__{rank}_0.distcp"
        if pieces:
            with (self.path / name).open("wb") as file:
                for index, held in pieces:
                    own = io.BytesIO()
                    serialization.save(held, own)
                    found[index] = meta._StorageInfo(name, file.tell(), len(own.getbuffer()))
                    file.write(own.getbuffer())
                self._flush(file)
        return found

    def _flush(self, file: Any) -> None:
        file.flush()
        if self._sync:
            os.fsync(file.fileno())

    def finish(self, metadata: meta.Metadata) -> None:
        metadata.storage_meta = meta.StorageMeta(str(self.path), str(uuid.uuid4()))
        with archive.replacing(self.path / ".metadata") as file:
            meta.write(metadata, file)


class FileSystemReader(StorageReader):
    """Reads a folder that this or PyTorch's FileSystemWriter wrote."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def read_metadata(self) -> meta.Metadata:
        with (self.path / ".metadata").open("rb") as file:
            return meta.read(file)

    def read_piece(self, where: Any) -> Any:
        if where.transform_descriptors:
            raise NotImplementedError(f"a piece that was transformed: {where}")
        path = self.path / where.relative_path
        if path.resolve().parent != self.path.resolve():
            raise ValueError(f"a piece outside of the checkpoint: {where.relative_path}")
        with path.open("rb") as file:
            file.seek(where.offset)
            return serialization.load(io.BytesIO(file.read(where.length)), weights_only=True)
