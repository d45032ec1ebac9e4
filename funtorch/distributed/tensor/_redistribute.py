"""From what one process holds under some placements to what it holds under others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch.autograd.function import Function
from funtorch.distributed import _functional_collectives as collectives
from funtorch.distributed.device_mesh import DeviceMesh
from funtorch.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard
from funtorch.nn.functional import pad
from funtorch.ops.joining import cat
from funtorch.tensor import Tensor, size_of

Placements = tuple[Placement, ...]


def held(whole: Tensor, mesh: DeviceMesh, placements: Sequence[Placement]) -> Tensor:
    """What this process holds of a whole tensor. A sum is held by the first process alone."""
    coordinate = mesh.get_coordinate()
    for i, placement in enumerate(placements):
        if isinstance(placement, Shard):
            size, begin = Shard.local_shard_size_and_offset(
                size_of(whole)[placement.dim], mesh.size(i), coordinate[i]
            )
            whole = whole.narrow(placement.dim, begin, size)
        elif isinstance(placement, Partial) and placement.reduce_op == "sum" and coordinate[i]:
            whole = whole.new_zeros(size_of(whole))
    return whole


def gathered(
    local: Tensor, mesh: DeviceMesh, placements: Sequence[Placement], shape: Sequence[int]
) -> Tensor:
    """The whole tensor of what the processes hold. shape: its own."""
    for i in reversed(range(mesh.ndim)):
        placement = placements[i]
        if mesh.size(i) == 1 or isinstance(placement, Replicate):
            continue
        if isinstance(placement, Partial):
            local = collectives.all_reduce(local, placement.reduce_op, (mesh, i))
        elif isinstance(placement, Shard):
            extent = _extent(shape, mesh, placements[:i], placement.dim)
            local = _joined(local, placement.dim, extent, mesh, i)
        else:
            raise NotImplementedError(f"{placement} is no placement that tensors have here")
    return local


def _extent(shape: Sequence[int], mesh: DeviceMesh, before: Sequence[Placement], dim: int) -> int:
    """What earlier dimensions of the mesh leave this process of a dimension of the tensor."""
    extent, coordinate = shape[dim], mesh.get_coordinate()
    for i, placement in enumerate(before):
        if placement.is_shard(dim):
            extent = Shard.local_shard_size_and_offset(extent, mesh.size(i), coordinate[i])[0]
    return extent


def _joined(local: Tensor, dim: int, extent: int, mesh: DeviceMesh, mesh_dim: int) -> Tensor:
    """All chunks of a dimension, which travel at the size of the largest."""
    count = mesh.size(mesh_dim)
    sizes = [Shard.local_shard_size_and_offset(extent, count, r)[0] for r in range(count)]
    missing = sizes[0] - size_of(local)[dim]
    padded = pad(local, [0, 0] * (local.ndim - 1 - dim) + [0, missing]) if missing else local
    all_of_them = collectives.all_gather_tensor(padded, dim, (mesh, mesh_dim))
    begins = range(0, sizes[0] * count, sizes[0] or 1)
    parts = [all_of_them.narrow(dim, b, n) for b, n in zip(begins, sizes, strict=False)]
    return cat(parts, dim)


class Redistributed(Function):
    """A change of placements. A gradient goes back to the placements that its tensor came from."""

    @staticmethod
    def forward(
        ctx: Any, local: Tensor, mesh: DeviceMesh, old: Placements, new: Placements, shape: Any
    ) -> Tensor:
        """local: what this process holds under `old` -> what it holds under `new`"""
        ctx.way = mesh, old, new, shape
        return held(gathered(local, mesh, old, shape), mesh, new).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradient of a summand is that of the sum: it is the same everywhere."""
        mesh, old, new, shape = ctx.way
        whole = tuple(Replicate() if isinstance(p, Partial) else p for p in old)
        back = tuple(Replicate() if isinstance(p, Partial) else p for p in new)
        return held(gathered(grad, mesh, back, shape), mesh, whole), None, None, None, None
