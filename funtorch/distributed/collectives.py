"""Collectives on tensors. Each needs values on the host, so it is a barrier for what was recorded."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np

from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.distributed.errors import DistBackendError
from funtorch.distributed.exchange import buffer_like, parts_of
from funtorch.distributed.groups import GroupMember, ProcessGroup, member_of
from funtorch.distributed.reducing import Array, RedOpType, ReduceOp, check_reduction
from funtorch.distributed.sockets import seconds
from funtorch.distributed.work import Coalesced, Work
from funtorch.lowering import aligned, constant
from funtorch.tensor import Tensor, dtype_of, size_of
from funtorch.views import store

F = TypeVar("F", bound=Callable[..., Any])


def for_members(function: F) -> F:
    """A collective which processes outside of the group leave with a warning."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("group") == GroupMember.NON_GROUP_MEMBER or any(
            isinstance(held, int) and held == GroupMember.NON_GROUP_MEMBER for held in args
        ):
            warnings.warn(
                f"Running {function.__name__} on a rank which does not belong to the given group.",
                stacklevel=2,
            )
            return None
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def root_of(group: ProcessGroup, rank: int | None, in_group: int | None, default: int = 0) -> int:
    """The place in the group of the process to send from or to."""
    if rank is not None and in_group is not None:
        raise ValueError("Can't specify both group's and global rank")
    if rank is None:
        wanted = default if in_group is None else in_group
        if not 0 <= wanted < group.size():
            raise RuntimeError(f"invalid root rank: {wanted}, the group has {group.size()}")
        return wanted
    if rank not in group.ranks:
        # Of the default group gloo itself says so, of others the lookup does.
        kind = RuntimeError if group.group_name == "0" else ValueError
        raise kind(f"invalid root rank: {rank} is not part of the group of {group.ranks}")
    return group.ranks.index(rank)


def elements_of(tensor: Tensor) -> Array:
    """A tensor's elements as a C-contiguous array, not to be written to. Waits for them."""
    if isinstance(tensor, Composed):
        raise NotImplementedError("collectives of sparse and nested tensors")
    return np.ascontiguousarray(to_host(tensor))


def copy_of(tensor: Tensor) -> Array:
    """A tensor's elements in memory that can be written to, and be handed back."""
    made = buffer_like(elements := elements_of(tensor))
    np.copyto(made, elements)
    return made


def room_for(tensor: Tensor) -> Array:
    """Memory for what a tensor is to receive."""
    if isinstance(tensor, Composed):
        raise NotImplementedError("collectives of sparse and nested tensors")
    made: Array = aligned(size_of(tensor), tensor._value.aval.dtype)
    return made


def put(tensor: Tensor, array: Array) -> None:
    """Write received elements into a tensor, in place and without the tape."""
    shaped = array.reshape(size_of(tensor))
    store(tensor, constant(shaped, tensor._value.aval.place))


def _check(wanted: int, listed: Sequence[Any], name: str) -> None:
    if len(listed) != wanted:
        raise RuntimeError(f"invalid {name}: expected length {wanted}, got {len(listed)}")


def _alike(what: str, first: Tensor, others: Sequence[Tensor]) -> None:
    """All of one dtype and size."""
    for i, other in enumerate(others):
        if dtype_of(other) is not dtype_of(first):
            raise ValueError(
                f"Invalid usage of tensors with different dtypes: found {dtype_of(first)!r} and "
                f"{dtype_of(other)!r}"
            )
        if other.numel() != first.numel():
            raise RuntimeError(
                f"{what}: invalid tensor size at index {i} (expected {tuple(size_of(first))}, got "
                f"{tuple(size_of(other))})"
            )


@for_members
def barrier(
    group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: Any = None
) -> Work | None:
    """Wait for all members."""
    members = member_of(group)
    exchange = members.exchange("barrier", None if timeout is None else seconds(timeout))
    return members.do(async_op, exchange.barrier, lambda: None, [])


@for_members
def monitored_barrier(
    group: Any = None, timeout: timedelta | None = None, wait_all_ranks: bool = False
) -> None:
    """Wait for all members. Rank 0 raises RuntimeError naming those that do not come in time."""
    members = member_of(group)
    limit = members.limit if timeout is None else seconds(timeout)
    exchange = members.exchange("monitored_barrier", limit, apart=True)
    token = np.zeros(1, np.uint8)
    if exchange.rank != 0:
        exchange.send(0, token)
        exchange.wait(exchange.post(0, np.empty(1, np.uint8), part=1), 0)
        return
    receipts = {r: exchange.post(r, np.empty(1, np.uint8)) for r in exchange.others}
    missing = []
    for r, receipt in receipts.items():
        try:
            exchange.wait(receipt, r)
        except DistBackendError:
            missing.append(members.ranks[r])
            exchange.limit = 0.0
            if not wait_all_ranks:
                break
    if missing:
        named = ", ".join(map(str, missing))
        raise DistBackendError(
            f"[Rank 0]: Ranks {named} failed to pass monitoredBarrier in {limit * 1000:g} ms"
            if wait_all_ranks
            else f"[Rank 0]: Rank {named} failed to pass monitoredBarrier in {limit * 1000:g} ms"
        )
    for r in exchange.others:
        exchange.send(r, token, part=1)


@for_members
def broadcast(
    tensor: Tensor,
    src: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Every member's `tensor` becomes that of `src`."""
    members = member_of(group)
    root = root_of(members, src, group_src)
    exchange = members.exchange("broadcast")
    own = exchange.rank == root
    array = elements_of(tensor) if own else room_for(tensor)
    return members.do(
        async_op,
        lambda: exchange.broadcast(array, root),
        lambda: None if own else put(tensor, array),
        [tensor],
    )


@for_members
def all_reduce(
    tensor: Tensor, op: RedOpType = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """`tensor` becomes the sum (or other reduction) over all members."""
    members = member_of(group)
    check_reduction(op, tensor._value.aval.dtype, "all_reduce")
    if members.size() == 1:
        return members.do(async_op, lambda: None, lambda: None, [tensor])
    exchange, array = members.exchange("all_reduce"), copy_of(tensor)
    return members.do(
        async_op, lambda: exchange.all_reduce(array, op), lambda: put(tensor, array), [tensor]
    )


@for_members
def all_reduce_coalesced(
    tensors: Sequence[Tensor],
    op: RedOpType = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """`all_reduce` of several tensors."""
    works = [all_reduce(tensor, op, group, True) for tensor in tensors]
    whole = Coalesced([work for work in works if work is not None])
    if async_op:
        return whole
    whole.wait()
    return None


@for_members
def reduce(
    tensor: Tensor,
    dst: int | None = None,
    op: RedOpType = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """As `all_reduce`, for one member only; the others keep what they have."""
    members = member_of(group)
    root = root_of(members, dst, group_dst)
    check_reduction(op, tensor._value.aval.dtype, "reduce")
    exchange, array = members.exchange("reduce"), copy_of(tensor)
    return members.do(
        async_op,
        lambda: exchange.reduce(array, op, root),
        lambda: put(tensor, array) if exchange.rank == root else None,
        [tensor],
    )


@for_members
def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False
) -> Work | None:
    """The tensors of all members, one in each of `tensor_list`."""
    members = member_of(group)
    _check(members.size(), tensor_list, "output tensor list")
    _alike("all_gather", tensor, tensor_list)
    exchange = members.exchange("all_gather")
    arrays = [room_for(made) for made in tensor_list]
    arrays[exchange.rank] = copy_of(tensor)

    def finish() -> None:
        for made, array in zip(tensor_list, arrays, strict=True):
            put(made, array)

    return members.do(async_op, lambda: exchange.all_gather(arrays), finish, tensor_list)


@for_members
def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Work | None:
    """The tensors of all members, one after the other or stacked. [n, ...] -> [world * n, ...]"""
    members = member_of(group)
    _whole("all_gather_into_tensor", output_tensor, input_tensor, members.size())
    exchange, array = members.exchange("all_gather_into_tensor"), room_for(output_tensor)
    parts = parts_of(array, members.size())
    parts[exchange.rank][:] = elements_of(input_tensor).reshape(-1)
    return members.do(
        async_op,
        lambda: exchange.all_gather(parts),
        lambda: put(output_tensor, array),
        [output_tensor],
    )


all_gather_single = all_gather_into_tensor


def _whole(what: str, large: Tensor, small: Tensor, count: int) -> None:
    """One tensor is as large as one for each member, and of the same dtype."""
    if dtype_of(large) is not dtype_of(small):
        raise ValueError(
            f"Invalid usage of tensors with different dtypes: found {dtype_of(large)!r} and "
            f"{dtype_of(small)!r}"
        )
    if large.numel() != count * small.numel():
        raise RuntimeError(
            f"{what}: {large.numel()} elements are not {count} times {small.numel()}"
        )


@for_members
def gather(
    tensor: Tensor,
    gather_list: list[Tensor] | None = None,
    dst: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """The tensors of all members, for one of them."""
    members = member_of(group)
    root = root_of(members, dst, group_dst)
    own = members.rank() == root
    if own and not gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    if not own and gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    made = gather_list or []
    if own:
        _check(members.size(), made, "gather_list")
        _alike("gather", tensor, made)
    exchange, array = members.exchange("gather"), elements_of(tensor)
    arrays = [room_for(t) for t in made]

    def finish() -> None:
        for target, received in zip(made, arrays, strict=True):
            put(target, received)

    return members.do(async_op, lambda: exchange.gather(array, arrays, root), finish, made)


@for_members
def scatter(
    tensor: Tensor,
    scatter_list: list[Tensor] | None = None,
    src: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Each member receives its tensor of the list that one of them has."""
    members = member_of(group)
    root = root_of(members, src, group_src)
    own = members.rank() == root
    if own and not scatter_list:
        raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
    if not own and scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    if own:
        _check(members.size(), scatter_list or (), "scatter_list")
        _alike("scatter", tensor, scatter_list or ())
    exchange, array = members.exchange("scatter"), room_for(tensor)
    arrays = [elements_of(t) for t in scatter_list or ()]
    return members.do(
        async_op,
        lambda: exchange.scatter(array, arrays, root),
        lambda: put(tensor, array),
        [tensor],
    )


@for_members
def reduce_scatter(
    output: Tensor,
    input_list: list[Tensor],
    op: RedOpType = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """Sum the lists of all members; each receives its entry."""
    members = member_of(group)
    _check(members.size(), input_list, "input_list")
    _alike("reduce_scatter", output, input_list)
    check_reduction(op, output._value.aval.dtype, "reduce_scatter")
    exchange, array = members.exchange("reduce_scatter"), room_for(output)
    inputs = [elements_of(t) for t in input_list]
    return members.do(
        async_op,
        lambda: exchange.reduce_scatter(array, inputs, op),
        lambda: put(output, array),
        [output],
    )


@for_members
def reduce_scatter_tensor(
    output: Tensor,
    input: Tensor,
    op: RedOpType = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """Sum the tensors of all members; each receives its part. [world * n, ...] -> [n, ...]"""
    members = member_of(group)
    _whole("reduce_scatter_tensor", input, output, members.size())
    check_reduction(op, output._value.aval.dtype, "reduce_scatter_tensor")
    exchange, array = members.exchange("reduce_scatter_tensor"), room_for(output)
    inputs = parts_of(elements_of(input), members.size())
    return members.do(
        async_op,
        lambda: exchange.reduce_scatter(array, inputs, op),
        lambda: put(output, array),
        [output],
    )


reduce_scatter_single = reduce_scatter_tensor


@for_members
def all_to_all(
    output_tensor_list: list[Tensor],
    input_tensor_list: list[Tensor],
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """Each member sends one tensor to each, and receives one from each."""
    members = member_of(group)
    _check(members.size(), output_tensor_list, "output_tensor_list")
    _check(members.size(), input_tensor_list, "input_tensor_list")
    own = members.rank()
    _alike("all_to_all", input_tensor_list[own], [output_tensor_list[own]])
    exchange = members.exchange("all_to_all")
    inputs = [elements_of(t) for t in input_tensor_list]
    outputs = [room_for(t) for t in output_tensor_list]

    def finish() -> None:
        for made, array in zip(output_tensor_list, outputs, strict=True):
            put(made, array)

    return members.do(
        async_op, lambda: exchange.all_to_all(outputs, inputs), finish, output_tensor_list
    )


@for_members
def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """As `all_to_all`, of parts of one tensor along its first dimension."""
    members = member_of(group)
    if dtype_of(output) is not dtype_of(input):
        raise ValueError("Invalid usage of tensors with different dtypes")
    array = room_for(output)
    outputs = _split(array, output_split_sizes, members.size())
    inputs = _split(elements_of(input), input_split_sizes, members.size())
    if outputs[members.rank()].size != inputs[members.rank()].size:
        raise RuntimeError("all_to_all_single: what this rank keeps has two sizes")
    exchange = members.exchange("all_to_all_single")
    return members.do(
        async_op,
        lambda: exchange.all_to_all(outputs, inputs),
        lambda: put(output, array),
        [output],
    )


def _split(array: Array, sizes: Sequence[int] | None, count: int) -> list[Array]:
    """Parts of an array along its first dimension, flat; equal ones if no sizes are given."""
    length = array.shape[0] if array.ndim else 1
    if not sizes:
        if length % count:
            raise RuntimeError("Tensor's dim 0 does not divide equally across group size")
        return parts_of(array, count)
    if len(sizes) != count or sum(sizes) != length:
        raise RuntimeError("Split sizes doesn't match total dim 0 size")
    bounds = np.cumsum([0, *sizes])
    return [array[a:b].reshape(-1) for a, b in zip(bounds, bounds[1:], strict=False)]
