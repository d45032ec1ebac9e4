"""save and load: a state dict of all processes, through a writer and a reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funtorch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from funtorch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from funtorch.distributed.collectives import barrier
from funtorch.distributed.groups import get_world_size, is_initialized
from funtorch.distributed.tensor import DTensor
from funtorch.distributed.tensor._redistribute import held
from funtorch.grad_mode import no_grad
from funtorch.tensor import Tensor, from_host


class CheckpointException(BaseException):
    """A checkpoint could not be written or read."""


def save(
    state_dict: Mapping[str, Any], *, storage_writer: HuggingFaceStorageWriter, planner: Any = None
) -> None:
    """Write a state dict. Every process calls it, and goes on when all have written."""
    storage_writer.write(state_dict)
    if is_initialized() and get_world_size() > 1:
        barrier()


def load(
    state_dict: Mapping[str, Any],
    *,
    storage_reader: HuggingFaceStorageReader,
    planner: DefaultLoadPlanner | None = None,
) -> None:
    """Write what a checkpoint holds into the tensors of a state dict.

    Raises CheckpointException where a name is missing or a shape differs.
    """
    found = storage_reader.read_metadata().state_dict_metadata
    for name, target in state_dict.items():
        if name not in found:
            if planner is not None and planner.allow_partial_load:
                continue
            raise CheckpointException(f"Missing key in checkpoint state_dict: {name}.")
        if found[name].size != target.shape:
            raise CheckpointException(
                f"Size mismatch between saved {found[name].size} and current: {target.shape} for "
                f"{name}"
            )
        with no_grad():
            _fill(target, from_host(storage_reader.read(found[name])))


def _fill(target: Tensor, whole: Tensor) -> None:
    if isinstance(target, DTensor):
        target.to_local().copy_(held(whole, target.device_mesh, target.placements))
    else:
        target.copy_(whole)
