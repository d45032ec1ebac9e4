"""Collectives as functions: the result is a new tensor, and it is there when the call returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch.distributed import collectives
from funtorch.distributed.device_mesh import DeviceMesh
from funtorch.distributed.groups import ProcessGroup, get_world_size, new_group
from funtorch.distributed.nn import functional as differentiable
from funtorch.distributed.reducing import ReduceOp
from funtorch.ops.creation import empty
from funtorch.ops.joining import cat
from funtorch.tensor import Tensor, size_of

Group = Any  # a ProcessGroup, a DeviceMesh of one dimension, (mesh, dimension), or a list of ranks


def _group_of(group: Group) -> ProcessGroup | None:
    if isinstance(group, DeviceMesh):
        return group.get_group()
    if isinstance(group, tuple) and isinstance(group[0], DeviceMesh):
        return group[0].get_group(group[1])
    return new_group(group) if isinstance(group, list) else group


def wait_tensor(tensor: Tensor) -> Tensor:
    """The tensor: nothing is under way."""
    return tensor


def broadcast(self: Tensor, src: int, group: Group, tag: str = "") -> Tensor:
    """What process `src` has."""
    made = self.clone()
    collectives.broadcast(made, src, group=_group_of(group))
    return made


def all_reduce(self: Tensor, reduceOp: str, group: Group, tag: str = "") -> Tensor:
    """The 'sum', 'avg', 'max', ... over the processes."""
    made = self.clone()
    collectives.all_reduce(made, op=getattr(ReduceOp, reduceOp.upper()), group=_group_of(group))
    return made


def all_gather_tensor(self: Tensor, gather_dim: int, group: Group, tag: str = "") -> Tensor:
    """What all processes have, one after the other along a dimension."""
    where = _group_of(group)
    parts = [empty(size_of(self), dtype=self.dtype) for _ in range(get_world_size(where))]
    collectives.all_gather(parts, self.contiguous(), group=where)
    return cat(parts, gather_dim)


def reduce_scatter_tensor(
    self: Tensor,
    reduceOp: str,
    scatter_dim: int,
    group: Group,
    tag: str = "",
) -> Tensor:
    """This process's chunk, along a dimension, of the sum over the processes."""
    where = _group_of(group)
    parts = [part.contiguous() for part in self.chunk(get_world_size(where), scatter_dim)]
    made = empty(size_of(parts[0]), dtype=self.dtype)
    collectives.reduce_scatter(made, parts, op=getattr(ReduceOp, reduceOp.upper()), group=where)
    return made


def _room(self: Tensor, rows: Sequence[int] | None) -> Tensor:
    shape = size_of(self)
    return empty(shape if rows is None else (sum(rows), *shape[1:]), dtype=self.dtype)


def all_to_all_single(
    self: Tensor,
    output_split_sizes: list[int] | None,
    input_split_sizes: list[int] | None,
    group: Group,
    tag: str = "",
) -> Tensor:
    """Rows for every process, for rows from every process."""
    made = _room(self, output_split_sizes)
    collectives.all_to_all_single(
        made, self, output_split_sizes, input_split_sizes, group=_group_of(group)
    )
    return made


def all_to_all_single_autograd(
    self: Tensor,
    output_split_sizes: list[int] | None,
    input_split_sizes: list[int] | None,
    group: Group,
    tag: str = "",
) -> Tensor:
    """The same with a gradient, which goes the way back."""
    made: Tensor = differentiable.all_to_all_single(
        _room(self, output_split_sizes),
        self,
        output_split_sizes,
        input_split_sizes,
        _group_of(group),
    )
    return made
