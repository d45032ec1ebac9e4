"""Where the share of one process begins, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence

from funtorch.distributed.device_mesh import DeviceMesh
from funtorch.distributed.tensor.placement_types import Placement, Shard


def compute_local_shape_and_global_offset(
    global_shape: Sequence[int],
    mesh: DeviceMesh,
    placements: Sequence[Placement],
    skip_offset: bool = False,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(shape of what this process holds, where that begins in the whole). skip_offset: () for that."""
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return (0,), ()
    shape, offset = list(global_shape), [0] * len(global_shape)
    for i, placement in enumerate(placements):
        if isinstance(placement, Shard):
            size, begin = Shard.local_shard_size_and_offset(
                shape[placement.dim], mesh.size(i), coordinate[i]
            )
            offset[placement.dim] += begin if size else shape[placement.dim]
            shape[placement.dim] = size
    return tuple(shape), () if skip_offset else tuple(offset)
