"""Collectives in a group of one: what each process would receive is what this one sends."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from funtorch.distributed.groups import ReduceOp, Work, member_of
from funtorch.grad_mode import no_grad
from funtorch.tensor import Tensor, dtype_of, size_of


def _done(asynchronous: bool) -> Work | None:
    return Work() if asynchronous else None


def _root(rank: int | None, in_group: int | None, group: Any) -> None:
    """Check that the process to send from or to is this one."""
    member_of(group)
    wanted = in_group if rank is None else rank
    if wanted not in (None, 0):
        raise RuntimeError(f"invalid root rank: {wanted}, the group has one process")


def _receive(target: Tensor, source: Tensor) -> None:
    if dtype_of(target) is not dtype_of(source):
        raise ValueError(
            f"Invalid usage of tensors with different dtypes: found {dtype_of(target)!r} and "
            f"{dtype_of(source)!r}"
        )
    if target.numel() != source.numel():
        raise RuntimeError(
            f"invalid tensor size (expected {tuple(size_of(source))}, got {tuple(size_of(target))})"
        )
    with no_grad():
        target.copy_(source.reshape(size_of(target)))


def _only(listed: Sequence[Any], name: str) -> Any:
    if len(listed) != 1:
        raise RuntimeError(f"invalid {name}: expected length 1, got {len(listed)}")
    return listed[0]


def barrier(
    group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: Any = None
) -> Work | None:
    """Wait for all members."""
    member_of(group)
    return _done(async_op)


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """Wait for all members, naming those that do not come."""
    member_of(group)


def broadcast(
    tensor: Tensor,
    src: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Every member's `tensor` becomes that of `src`."""
    _root(src, group_src, group)
    return _done(async_op)


def all_reduce(
    tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """`tensor` becomes the sum (or other reduction) over all members."""
    member_of(group)
    return _done(async_op)


def reduce(
    tensor: Tensor,
    dst: int | None = None,
    op: ReduceOp = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """As `all_reduce`, for one member only."""
    _root(dst, group_dst, group)
    return _done(async_op)


def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False
) -> Work | None:
    """The tensors of all members, one in each of `tensor_list`."""
    member_of(group)
    _receive(_only(tensor_list, "output tensor list"), tensor)
    return _done(async_op)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Work | None:
    """The tensors of all members, one after the other or stacked. [n, ...] -> [world * n, ...]"""
    member_of(group)
    _receive(output_tensor, input_tensor)
    return _done(async_op)


def gather(
    tensor: Tensor,
    gather_list: list[Tensor] | None = None,
    dst: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """The tensors of all members, for one of them."""
    _root(dst, group_dst, group)
    if not gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    _receive(_only(gather_list, "gather_list"), tensor)
    return _done(async_op)


def scatter(
    tensor: Tensor,
    scatter_list: list[Tensor] | None = None,
    src: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Each member receives its tensor of the list that one of them has."""
    _root(src, group_src, group)
    if not scatter_list:
        raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
    _receive(tensor, _only(scatter_list, "scatter_list"))
    return _done(async_op)


def reduce_scatter(
    output: Tensor,
    input_list: list[Tensor],
    op: ReduceOp = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """Sum the lists of all members; each receives its entry."""
    member_of(group)
    _receive(output, _only(input_list, "input_list"))
    return _done(async_op)


def reduce_scatter_tensor(
    output: Tensor,
    input: Tensor,
    op: ReduceOp = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """Sum the tensors of all members; each receives its part. [world * n, ...] -> [n, ...]"""
    member_of(group)
    _receive(output, input)
    return _done(async_op)


def all_to_all(
    output_tensor_list: list[Tensor],
    input_tensor_list: list[Tensor],
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """Each member sends one tensor to each, and receives one from each."""
    member_of(group)
    received = _only(output_tensor_list, "output_tensor_list")
    _receive(received, _only(input_tensor_list, "input_tensor_list"))
    return _done(async_op)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """As `all_to_all`, of parts of one tensor."""
    member_of(group)
    _receive(output, input)
    return _done(async_op)


# Python objects ---------------------------------------------------------------------------------


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """The objects of all members; copies, as pickling would make them."""
    member_of(group)
    object_list[0] = copy.deepcopy(obj)


def gather_object(
    obj: Any,
    object_gather_list: list[Any] | None = None,
    dst: int | None = None,
    group: Any = None,
    group_dst: int | None = None,
) -> None:
    """The objects of all members, for one of them."""
    _root(dst, group_dst, group)
    if object_gather_list is None:
        raise ValueError("Argument ``object_gather_list`` must be specified on destination rank.")
    object_gather_list[0] = copy.deepcopy(obj)


def broadcast_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Any = None,
    device: Any = None,
    group_src: int | None = None,
) -> None:
    """Every member's list becomes that of `src`."""
    _root(src, group_src, group)


def scatter_object_list(
    scatter_object_output_list: list[Any],
    scatter_object_input_list: list[Any] | None = None,
    src: int | None = None,
    group: Any = None,
    group_src: int | None = None,
) -> None:
    """Each member receives its object of the list that one of them has."""
    _root(src, group_src, group)
    if not scatter_object_input_list:
        raise ValueError("Expected a list of objects to scatter on the source rank")
    scatter_object_output_list[0] = copy.deepcopy(scatter_object_input_list[0])
