"""Collectives of Python objects, by pickle: as in PyTorch, for processes that trust each other.

They are the user's own, started together; the connections accept only processes that read the token
in the store which they share.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from funtorch.distributed.collectives import for_members, root_of
from funtorch.distributed.exchange import Exchange
from funtorch.distributed.groups import ProcessGroup, member_of
from funtorch.distributed.reducing import Array


def packed(obj: Any) -> Array:
    """An object's pickle. -> uint8 [n]"""
    return np.frombuffer(pickle.dumps(obj), np.uint8)


def unpacked(data: Array) -> Any:
    """The object of a pickle."""
    return pickle.loads(data)


def _send_to(exchange: Exchange, targets: list[int], data: Array) -> None:
    for r in targets:
        exchange.send(r, data)


@for_members
def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """The objects of all members; copies, also of one's own."""
    exchange, data = member_of(group).exchange("all_gather_object"), packed(obj)
    receipts = {r: exchange.post(r, None) for r in exchange.others}
    _send_to(exchange, exchange.others, data)
    for r in range(exchange.size):
        own = r == exchange.rank
        object_list[r] = unpacked(data if own else exchange.wait(receipts[r], r))


@for_members
def gather_object(
    obj: Any,
    object_gather_list: list[Any] | None = None,
    dst: int | None = None,
    group: Any = None,
    group_dst: int | None = None,
) -> None:
    """The objects of all members, for one of them."""
    members = member_of(group)
    root = root_of(members, dst, group_dst)
    own = members.rank() == root
    if own and object_gather_list is None:
        raise ValueError("Argument ``object_gather_list`` must be specified on destination rank.")
    if not own and object_gather_list:
        raise ValueError(
            "Argument ``object_gather_list`` must NOT be specified on non-destination ranks."
        )
    exchange, data = members.exchange("gather_object"), packed(obj)
    if not own:
        exchange.send(root, data)
        return
    receipts = {r: exchange.post(r, None) for r in exchange.others}
    assert object_gather_list is not None
    for r in range(exchange.size):
        object_gather_list[r] = unpacked(data if r == root else exchange.wait(receipts[r], r))


@for_members
def broadcast_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Any = None,
    device: Any = None,
    group_src: int | None = None,
) -> None:
    """Every member's list becomes that of `src`."""
    members = member_of(group)
    root = root_of(members, src, group_src)
    exchange = members.exchange("broadcast_object_list")
    if exchange.rank == root:
        _send_to(exchange, exchange.others, packed(list(object_list)))
        return
    received = unpacked(exchange.wait(exchange.post(root, None), root))
    object_list[:] = received[: len(object_list)]


@for_members
def scatter_object_list(
    scatter_object_output_list: list[Any],
    scatter_object_input_list: list[Any] | None = None,
    src: int | None = None,
    group: Any = None,
    group_src: int | None = None,
) -> None:
    """Each member receives its object of the list that one of them has."""
    members = member_of(group)
    root = root_of(members, src, group_src)
    if not scatter_object_output_list:
        raise ValueError(
            "Expected argument scatter_object_output_list to be a list of size at least 1."
        )
    exchange = members.exchange("scatter_object_list")
    if exchange.rank != root:
        data = exchange.wait(exchange.post(root, None), root)
        scatter_object_output_list[0] = unpacked(data)
        return
    if not scatter_object_input_list:
        raise ValueError("Expected a list of objects to scatter on the source rank")
    for r in exchange.others:
        exchange.send(r, packed(scatter_object_input_list[r]))
    scatter_object_output_list[0] = unpacked(packed(scatter_object_input_list[root]))


_TAG = 1 << 40
"""Above the tags of `send`: objects and tensors do not meet."""


def _member(members: ProcessGroup, rank: int | None, in_group: int | None) -> int:
    found = root_of(members, rank, in_group)
    if found == members.rank():
        raise ValueError("Invalid rank: it should not be the same as the current process's.")
    return found


@for_members
def send_object_list(
    object_list: list[Any],
    dst: int | None = None,
    group: Any = None,
    device: Any = None,
    group_dst: int | None = None,
    use_batch: bool = False,
) -> None:
    """Send a list of objects to one member."""
    members = member_of(group)
    members.send_to(_member(members, dst, group_dst), _TAG, packed(list(object_list)))


@for_members
def recv_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Any = None,
    device: Any = None,
    group_src: int | None = None,
    use_batch: bool = False,
) -> int:
    """Receive a list of objects, from any member if none is named; returns whose it was."""
    members = member_of(group)
    source = None if src is None and group_src is None else _member(members, src, group_src)
    receipt = members.post_from(source, _TAG, None)
    peer = None if source is None else members.ranks[source]
    data = receipt.wait("recv_object_list", members.mesh.rank, peer, members.limit)
    object_list[:] = unpacked(data)[: len(object_list)]
    assert receipt.source is not None
    return receipt.source
