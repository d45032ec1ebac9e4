"""Checkpoints as safetensors files, whole or one file for each process.

A file's metadata say where its chunks begin in the whole tensors, in the words of PyTorch's own files,
so that either library reads what the other wrote.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funtorch.dispatch import to_host
from funtorch.distributed.groups import get_rank, is_initialized
from funtorch.distributed.tensor import DTensor
from funtorch.distributed.tensor._utils import compute_local_shape_and_global_offset
from funtorch.serialization import archive
from funtorch.size import Size
from funtorch.tensor import Tensor

__all__ = ["HuggingFaceStorageReader", "HuggingFaceStorageWriter"]

_WHERE = "DCP_SHARDING_INFO"
Array = np.ndarray[Any, Any]


class Chunk(NamedTuple):
    """A part of a tensor in a file."""

    file: Path
    name: str
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


class TensorStorageMetadata(NamedTuple):
    """A tensor of a checkpoint: its shape and its chunks."""

    size: Size
    chunks: list[Chunk]


class Metadata(NamedTuple):
    """All tensors of a checkpoint by name."""

    state_dict_metadata: dict[str, TensorStorageMetadata]


class HuggingFaceStorageWriter:
    """Writes a checkpoint. Only tensors may be in it.

    save_distributed: each process writes what it holds, else the first one writes everything.
    fqn_to_index_mapping: which of several files, from 1, takes which tensor.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fqn_to_index_mapping: Mapping[str, int] | None = None,
        thread_count: int = 1,
        save_distributed: bool = False,
    ) -> None:
        self.path = Path(path)
        self.index = dict(fqn_to_index_mapping or {})
        self.save_distributed = save_distributed

    def write(self, state: Mapping[str, Any]) -> None:
        """Write this process's part. Every process has to call it."""
        rank = get_rank() if is_initialized() else 0
        held = {name: _part(value, self.save_distributed) for name, value in state.items()}
        if rank and not self.save_distributed:
            return
        held = {n: p for n, p in held.items() if not rank or isinstance(state[n], DTensor)}
        self.path.mkdir(parents=True, exist_ok=True)
        count = max(self.index.values(), default=1)
        places: dict[str, str] = {}
        for number in sorted({self.index.get(name, 1) for name in held}):
            file = f"model-{number:05}-of-{count:05}.safetensors"
            if self.save_distributed:
                file = f"shard-{rank + 1:05}-{file}"
            part = {n: p for n, p in held.items() if self.index.get(n, 1) == number}
            self._write_file(self.path / file, part)
            places |= dict.fromkeys(part, file)
        if not self.save_distributed:
            total = sum(array.nbytes for array, _ in held.values())
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
            (self.path / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))

    @staticmethod
    def _write_file(path: Path, part: Mapping[str, tuple[Array, tuple[int, ...]]]) -> None:
        where = {name: {"saved_offsets": list(offsets)} for name, (_, offsets) in part.items()}
        told = {"format": "pt", "DCP_VERSION": "1.0", _WHERE: json.dumps(where)}
        arrays = {name: array for name, (array, _) in part.items()}
        with archive.replacing(os.fspath(path)) as file:
            file.write(_safetensors("safetensors.numpy").save(arrays, told))


def _part(value: Any, own: bool) -> tuple[Array, tuple[int, ...]]:
    """What a process writes of a tensor, and where that begins."""
    if not isinstance(value, Tensor):
        raise NotImplementedError(
            f"a safetensors checkpoint holds tensors only, not {type(value).__name__}"
        )
    offsets: tuple[int, ...] = (0,) * value.ndim
    if isinstance(value, DTensor):
        if own:
            _, offsets = compute_local_shape_and_global_offset(
                value.shape, value.device_mesh, value.placements
            )
        value = value.to_local() if own else value.full_tensor()
    return np.asarray(to_host(value.detach()), order="C"), offsets


class HuggingFaceStorageReader:
    """Reads a checkpoint of safetensors files."""

    def __init__(self, path: str | os.PathLike[str], thread_count: int = 1) -> None:
        self.path = Path(path)

    def read_metadata(self) -> Metadata:
        """What is in the files. Raises FileNotFoundError if there are none."""
        files = sorted(self.path.glob("*.safetensors"))
        if not files:
            raise FileNotFoundError(f"there are no safetensors files in {self.path}")
        found: dict[str, list[Chunk]] = {}
        for path in files:
            with _safetensors("safetensors").safe_open(os.fspath(path), "numpy") as file:
                where = json.loads((file.metadata() or {}).get(_WHERE, "{}"))
                for name in file.keys():  # noqa: SIM118  (the file is no mapping)
                    sizes = tuple(file.get_slice(name).get_shape())
                    offsets = where.get(name, {}).get("saved_offsets", [0] * len(sizes))
                    found.setdefault(name, []).append(Chunk(path, name, tuple(offsets), sizes))
        return Metadata({name: _described(chunks) for name, chunks in found.items()})

    def read(self, described: TensorStorageMetadata) -> Array:
        """A whole tensor, put together from its chunks."""
        whole: Array | None = None
        for chunk in described.chunks:
            with _safetensors("safetensors").safe_open(os.fspath(chunk.file), "numpy") as file:
                part = file.get_tensor(chunk.name)
            if len(described.chunks) == 1:
                return np.asarray(part)
            if whole is None:
                whole = np.empty(described.size, part.dtype)
            ends = zip(chunk.offsets, chunk.sizes, strict=True)
            whole[tuple(slice(begin, begin + n) for begin, n in ends)] = part
        assert whole is not None
        return whole


def _described(chunks: list[Chunk]) -> TensorStorageMetadata:
    ends = [[o + n for o, n in zip(c.offsets, c.sizes, strict=True)] for c in chunks]
    return TensorStorageMetadata(Size(map(max, zip(*ends, strict=True))), chunks)


def _safetensors(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "safetensors files need the package of that name: pip install safetensors"
        ) from error
