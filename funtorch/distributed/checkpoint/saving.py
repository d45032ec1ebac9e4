"""`save` and `load`: states of several processes in one checkpoint, read again by however many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch.dispatch import to_host
from funtorch.distributed.checkpoint import metadata as meta
from funtorch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from funtorch.distributed.checkpoint.filesystem import (
    FileSystemReader,
    FileSystemWriter,
    StorageReader,
    StorageWriter,
)
from funtorch.distributed.checkpoint.flattening import flattened, put
from funtorch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from funtorch.distributed.groups import get_rank, is_initialized, member_of
from funtorch.distributed.objects import all_gather_object
from funtorch.distributed.tensor import DTensor
from funtorch.distributed.tensor._utils import compute_local_shape_and_global_offset
from funtorch.grad_mode import no_grad
from funtorch.size import Size
from funtorch.tensor import Tensor, dtype_of, from_host, size_of

CheckpointId = str | os.PathLike[str] | None
Box = tuple[tuple[int, ...], tuple[int, ...]]


class CheckpointException(BaseException):
    """A checkpoint could not be written or read. failures: by rank."""

    def __init__(self, msg: str, failures: dict[int, BaseException]) -> None:
        super().__init__(msg, failures)
        self.failures = failures

    def __str__(self) -> str:
        told = "".join(f"\nrank {rank}: {error!r}" for rank, error in self.failures.items())
        return f"CheckpointException ranks: {sorted(self.failures)}{told}"


def _box(tensor: Any) -> tuple[Box, Tensor]:
    """(offsets and sizes of this process's part, the part itself)."""
    if isinstance(tensor, DTensor):
        local = tensor.to_local().detach()
        _, offsets = compute_local_shape_and_global_offset(
            tensor.shape, tensor.device_mesh, tensor.placements
        )
        return (offsets, tuple(size_of(local))), local
    return ((0,) * tensor.ndim, tuple(tensor.shape)), tensor.detach()


def _states(state_dict: dict[str, Any]) -> dict[str, Any]:
    """With the states of objects that have one (models, optimisers) in their place."""
    return {
        key: held.state_dict() if callable(getattr(held, "state_dict", None)) else held
        for key, held in state_dict.items()
    }


def _exchanged(held: Any, group: Any, alone: bool) -> list[Any]:
    """What all processes have to say."""
    if alone:
        return [held]
    made: list[Any] = [None] * member_of(group).size()
    all_gather_object(made, held, group)
    return made


def save(
    state_dict: dict[str, Any],
    *,
    checkpoint_id: CheckpointId = None,
    storage_writer: StorageWriter | HuggingFaceStorageWriter | None = None,
    planner: DefaultSavePlanner | None = None,
    process_group: Any = None,
    no_dist: bool = False,
    use_collectives: bool = True,
) -> meta.Metadata:
    """Write a state that may be nested. Each process writes its parts of DTensors; what several have
    (by name) one of them writes. All processes have to call it.
    """
    alone = no_dist or not is_initialized()
    if isinstance(storage_writer, HuggingFaceStorageWriter):
        storage_writer.write(state_dict)
        _exchanged(None, process_group, alone)
        return meta.Metadata({})
    writer = storage_writer or FileSystemWriter(_said(checkpoint_id))
    flat, paths = flattened(_states(state_dict))
    own = {}
    for name, held in flat.items():
        if isinstance(held, Tensor):
            (offsets, sizes), part = _box(held)
            if 0 not in sizes or tuple(sizes) == tuple(held.shape):
                own[name, offsets] = (sizes, part)
        else:
            own[name, None] = (None, held)
    rank = 0 if alone else member_of(process_group).rank()
    mine = [(key, sizes, getattr(part, "nbytes", 0)) for key, (sizes, part) in own.items()]
    owners = _owners(_exchanged(mine, process_group, alone))
    pieces = []
    for key, (_, part) in own.items():
        if owners[key] == rank:
            index = meta.MetadataIndex(key[0], None if key[1] is None else Size(key[1]))
            pieces.append((index, part.contiguous() if isinstance(part, Tensor) else part))
    told = _described(flat, own, paths)
    everything = _exchanged((writer.write_pieces(rank, pieces), told), process_group, alone)
    whole = _merged(everything)
    if rank == 0:
        writer.finish(whole)
    _exchanged(None, process_group, alone)
    return whole


def _said(checkpoint_id: CheckpointId) -> str | os.PathLike[str]:
    if checkpoint_id is None:
        raise RuntimeError("checkpoint_id has to be given where no storage is")
    return checkpoint_id


def _owners(listed: Sequence[Any]) -> dict[Any, int]:
    """Who writes which piece: of those that have it, who has least to write."""
    having: dict[Any, list[int]] = {}
    sizes: dict[Any, int] = {}
    for rank, items in enumerate(listed):
        for key, _, count in items:
            having.setdefault(key, []).append(rank)
            sizes[key] = count
    loads, owners = [0] * len(listed), {}
    for key, ranks in having.items():
        owner = min(ranks, key=lambda rank: loads[rank])
        loads[owner] += sizes[key]
        owners[key] = owner
    return owners


def _described(flat: dict[str, Any], own: Any, paths: dict[str, Any]) -> meta.Metadata:
    """What this process knows of its state."""
    told: dict[str, Any] = {}
    for name, held in flat.items():
        if not isinstance(held, Tensor):
            told[name] = meta.BytesStorageMetadata()
            continue
        properties = meta.TensorProperties(dtype_of(held), requires_grad=held.requires_grad)
        chunks = [
            meta.ChunkStorageMetadata(Size(key[1]), Size(sizes))
            for key, (sizes, _) in own.items()
            if key[0] == name
        ]
        told[name] = meta.TensorStorageMetadata(properties, Size(held.shape), chunks)
    return meta.Metadata(told, planner_data=paths)


def _merged(everything: Sequence[Any]) -> meta.Metadata:
    """What all processes know."""
    made = meta.Metadata({}, {}, {}, None, "1.0.0")
    for stored, told in everything:
        made.storage_data.update(stored)
        made.planner_data.update(told.planner_data)
        for name, held in told.state_dict_metadata.items():
            known = made.state_dict_metadata.setdefault(name, held)
            if isinstance(held, meta.TensorStorageMetadata) and known is not held:
                known.chunks += [c for c in held.chunks if c not in known.chunks]
    return made


def load(
    state_dict: dict[str, Any],
    *,
    checkpoint_id: CheckpointId = None,
    storage_reader: StorageReader | HuggingFaceStorageReader | None = None,
    planner: DefaultLoadPlanner | None = None,
    process_group: Any = None,
    no_dist: bool = False,
) -> None:
    """Read a checkpoint into a state of the same names, in place: tensors keep their memory, and take
    the parts that this process's placement needs, whatever those were in which it was saved.
    """
    if isinstance(storage_reader, HuggingFaceStorageReader):
        _load_safetensors(state_dict, storage_reader, planner)
        return
    reader = storage_reader or FileSystemReader(_said(checkpoint_id))
    partial = planner is not None and planner.allow_partial_load
    states = _states(state_dict)
    flat, paths = flattened(states)
    try:
        found = reader.read_metadata()
        for name, held in flat.items():
            if name not in found.state_dict_metadata:
                if partial:
                    continue
                raise RuntimeError(f"Missing key in checkpoint state_dict: {name}.")
            if isinstance(held, Tensor):
                _fill(held, name, found, reader)
            else:
                where = found.storage_data[meta.MetadataIndex(name)]
                put(states, paths[name], reader.read_piece(where))
    except Exception as error:
        raise _failed(error) from error
    for key, held in state_dict.items():
        if callable(getattr(held, "load_state_dict", None)):
            held.load_state_dict(states[key])
        else:
            state_dict[key] = states[key]
    _exchanged(None, process_group, no_dist or not is_initialized())


def _failed(error: Exception) -> CheckpointException:
    return CheckpointException("load", {get_rank() if is_initialized() else 0: error})


def _load_safetensors(
    state_dict: dict[str, Any], reader: HuggingFaceStorageReader, planner: Any
) -> None:
    """The same from safetensors files."""
    found = reader.read_metadata().state_dict_metadata
    for name, target in state_dict.items():
        if name not in found:
            if planner is not None and planner.allow_partial_load:
                continue
            raise _failed(RuntimeError(f"Missing key in checkpoint state_dict: {name}."))
        if tuple(found[name].size) != tuple(target.shape):
            raise _failed(
                ValueError(
                    f"Size mismatch between saved {tuple(found[name].size)} and current: "
                    f"{tuple(target.shape)} for {name}"
                )
            )
        (offsets, sizes), part = _box(target)
        box = tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))
        with no_grad():
            part.copy_(from_host(reader.read(found[name])[box]))


def _fill(target: Any, name: str, found: meta.Metadata, reader: StorageReader) -> None:
    """Copy what a process needs of a saved tensor into its tensor."""
    told = found.state_dict_metadata[name]
    if tuple(told.size) != tuple(target.shape):
        raise ValueError(
            f"Size mismatch between saved {tuple(told.size)} and current: "
            f"{tuple(target.shape)} for {name}"
        )
    box, part = _box(target)
    with no_grad():
        part.copy_(from_host(_region(name, box, found, reader)))


def _region(name: str, box: Box, found: meta.Metadata, reader: StorageReader) -> Any:
    """A box of a saved tensor, from all pieces that reach into it."""
    offsets, sizes = box
    told = found.state_dict_metadata[name]
    made: Any = None
    for chunk in told.chunks:
        low = [max(a, b) for a, b in zip(offsets, chunk.offsets, strict=True)]
        ends = zip(offsets, sizes, chunk.offsets, chunk.sizes, strict=True)
        high = [min(a + n, b + m) for a, n, b, m in ends]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            continue
        where = found.storage_data[meta.MetadataIndex(name, Size(chunk.offsets))]
        piece = to_host(reader.read_piece(where).detach())
        if made is None:
            made = np.empty(sizes, piece.dtype)
        into = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, offsets))
        of = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, chunk.offsets))
        made[into] = piece[of]
    return np.empty(sizes, told.properties.dtype.numpy) if made is None else made


def save_state_dict(
    state_dict: dict[str, Any],
    storage_writer: StorageWriter,
    process_group: Any = None,
    coordinator_rank: int = 0,
    no_dist: bool = False,
    planner: DefaultSavePlanner | None = None,
) -> meta.Metadata:
    """`save` as it was called before."""
    return save(
        state_dict, storage_writer=storage_writer, process_group=process_group, no_dist=no_dist
    )


def load_state_dict(
    state_dict: dict[str, Any],
    storage_reader: StorageReader,
    process_group: Any = None,
    coordinator_rank: int = 0,
    no_dist: bool = False,
    planner: DefaultLoadPlanner | None = None,
) -> None:
    """`load` as it was called before."""
    load(
        state_dict,
        storage_reader=storage_reader,
        planner=planner,
        process_group=process_group,
        no_dist=no_dist,
    )
