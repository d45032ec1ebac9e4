"""Collectives through which gradients flow. In a group of one they hand on what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch.distributed.groups import ReduceOp, member_of
from funtorch.tensor import Tensor


def _own(tensor: Tensor, rank: int, group: Any) -> Tensor:
    """What the member `rank` has, which can only be this one."""
    member_of(group)
    if rank != 0:
        raise RuntimeError(f"invalid root rank: {rank}, the group has one process")
    return tensor.clone()


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """The tensor of `src`."""
    return _own(tensor, src, group)


def gather(tensor: Tensor, dst: int = 0, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all members, for `dst`."""
    return (_own(tensor, dst, group),)


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Any = None) -> Tensor:
    """This member's tensor among those of `src`."""
    return _own(tensors[0], src, group)


def reduce(tensor: Tensor, dst: int, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum over all members, for `dst`."""
    return _own(tensor, dst, group)


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum over all members."""
    return _own(tensor, 0, group)


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all members."""
    return (_own(tensor, 0, group),)


def reduce_scatter(
    output: Tensor, input_list: Sequence[Tensor], op: ReduceOp = ReduceOp.SUM, group: Any = None
) -> Tensor:
    """This member's entry of the sum of all members' lists. `output` gives its shape."""
    return _own(input_list[0], 0, group)


def all_to_all(
    output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Any = None
) -> tuple[Tensor, ...]:
    """One tensor from each member."""
    return (_own(input_tensor_list[0], 0, group),)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
) -> Tensor:
    """As `all_to_all`, of parts of one tensor."""
    return _own(input, 0, group)
