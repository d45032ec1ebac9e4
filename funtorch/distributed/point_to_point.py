"""Messages from one process to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.distributed.collectives import elements_of, for_members, put, room_for, root_of
from funtorch.distributed.groups import ProcessGroup, member_of
from funtorch.distributed.work import Receiving, Work
from funtorch.tensor import Tensor


def _other(members: ProcessGroup, kind: str, rank: int | None, in_group: int | None) -> int:
    found = root_of(members, rank, in_group)
    if found == members.rank():
        raise ValueError(
            f"Invalid {kind} rank: {kind} rank should not be the same as the rank of the current "
            "process."
        )
    return found


@for_members
def isend(
    tensor: Tensor,
    dst: int | None = None,
    group: Any = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> Work:
    """Send a tensor to a member. It is on its way when this returns."""
    members = member_of(group)
    if dst is None and group_dst is None:
        raise ValueError("Must specify 'dst' or 'group_dst'")
    to = _other(members, "destination", dst, group_dst)
    members.send_to(to, tag, elements_of(tensor))
    work = Work([tensor])
    work.run(lambda: None, lambda: None)
    return work


@for_members
def irecv(
    tensor: Tensor,
    src: int | None = None,
    group: Any = None,
    tag: int = 0,
    group_src: int | None = None,
) -> Work:
    """Receive into a tensor, from any member if none is named; `wait` on what it returns."""
    members = member_of(group)
    anyone = src is None and group_src is None
    source = None if anyone else _other(members, "source", src, group_src)
    array = room_for(tensor)
    receipt = members.post_from(source, tag, array)
    peer = None if source is None else members.ranks[source]
    told = ("recv", members.mesh.rank, peer, members.limit)
    return Receiving(receipt, told, lambda: put(tensor, array))


@for_members
def send(
    tensor: Tensor,
    dst: int | None = None,
    group: Any = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> None:
    """Send a tensor to a member."""
    isend(tensor, dst, group, tag, group_dst).wait()


@for_members
def recv(
    tensor: Tensor,
    src: int | None = None,
    group: Any = None,
    tag: int = 0,
    group_src: int | None = None,
) -> int:
    """Receive into a tensor, from any member if none is named; returns whose it was."""
    work = irecv(tensor, src, group, tag, group_src)
    work.wait()
    found: int = work.source_rank()
    return found


class P2POp:
    """A send or receive for `batch_isend_irecv`. op: `isend` or `irecv`."""

    def __init__(
        self,
        op: Callable[..., Work],
        tensor: Tensor,
        peer: int | None = None,
        group: Any = None,
        tag: int = 0,
        group_peer: int | None = None,
    ) -> None:
        if op not in (isend, irecv):
            raise ValueError(
                "Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                "``torch.distributed.irecv``."
            )
        self.op, self.tensor, self.group, self.tag = op, tensor, group, tag
        self.group_peer = root_of(member_of(group), peer, group_peer)
        self.peer = member_of(group).ranks[self.group_peer]


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Work]:
    """Start sends and receives together."""
    if not p2p_op_list:
        raise IndexError("batch_isend_irecv: the list is empty")
    if not all(isinstance(held, P2POp) for held in p2p_op_list):
        raise ValueError(
            "Invalid ``p2p_op_list``. Each op is expected to be of type ``torch.distributed.P2POp``."
        )
    return [held.op(held.tensor, held.peer, held.group, held.tag) for held in p2p_op_list]
