"""Collectives on NumPy arrays.

Every pair of processes has a connection, so arrays go straight from who has them to who wants them:
each process sends and receives as many bytes as around a ring, in one step instead of n - 1. A sum is
made in the order of ranks by one process and sent to the others, so all have the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch.distributed.mesh import Mesh, Receipt, Tag
from funtorch.distributed.reducing import Array, RedOpType, accumulate, finish
from funtorch.lowering import aligned

_SMALL = 1 << 14  # bytes up to which everybody sends everything to everybody


class Exchange:
    """One collective under way in a group. ranks: of the members, in the whole program."""

    def __init__(
        self, mesh: Mesh, ranks: Sequence[int], number: int, serial: int, what: str, limit: float
    ) -> None:
        self.mesh, self.ranks, self.what, self.limit = mesh, ranks, what, limit
        self.number, self.serial = number, serial
        self.size, self.rank = len(ranks), ranks.index(mesh.rank)
        self.others = [r for r in range(self.size) if r != self.rank]

    def _tag(self, part: int) -> Tag:
        return Tag(self.number, self.serial, part)

    def send(self, to: int, array: Array, part: int = 0) -> None:
        """Send a C-contiguous array to a member."""
        self.mesh.send(self.what, self.ranks[to], self._tag(part), array)

    def post(self, source: int, target: Array | None, part: int = 0) -> Receipt:
        """Be ready for an array from a member."""
        return self.mesh.post(self.ranks[source], self._tag(part), target)

    def wait(self, receipt: Receipt, source: int) -> Array:
        """What came."""
        return receipt.wait(self.what, self.mesh.rank, self.ranks[source], self.limit)

    # Moving -------------------------------------------------------------------------------------

    def barrier(self) -> None:
        """Return once all members have called it."""
        self.all_gather([np.empty(1, np.uint8) for _ in range(self.size)])

    def all_gather(self, parts: Sequence[Array], part: int = 0) -> None:
        """Fill the parts of all members; one's own is there already."""
        receipts = [self.post(r, parts[r], part) for r in self.others]
        for r in self.others:
            self.send(r, parts[self.rank], part)
        for r, receipt in zip(self.others, receipts, strict=True):
            self.wait(receipt, r)

    def all_to_all(self, outputs: Sequence[Array], inputs: Sequence[Array]) -> None:
        """inputs[r] goes to member r, whose array for this one comes into outputs[r]."""
        receipts = [self.post(r, outputs[r]) for r in self.others]
        for r in self.others:
            self.send(r, inputs[r])
        outputs[self.rank].reshape(-1)[:] = inputs[self.rank].reshape(-1)
        for r, receipt in zip(self.others, receipts, strict=True):
            self.wait(receipt, r)

    def broadcast(self, array: Array, root: int) -> None:
        """The root's array to all, down a tree: who has it sends it on to half of those below."""
        own = (self.rank - root) % self.size
        step = 1
        while step < self.size:
            step *= 2
        if own:
            step = own & -own
            source = (own - step + root) % self.size
            self.wait(self.post(source, array), source)
        while (step := step // 2) >= 1:
            if own + step < self.size:
                self.send((own + step + root) % self.size, array)

    def gather(self, array: Array, parts: Sequence[Array] | None, root: int) -> None:
        """All members' arrays to the root."""
        if self.rank != root:
            self.send(root, array)
            return
        assert parts is not None
        parts[root].reshape(-1)[:] = array.reshape(-1)
        receipts = [self.post(r, parts[r]) for r in self.others]
        for r, receipt in zip(self.others, receipts, strict=True):
            self.wait(receipt, r)

    def scatter(self, array: Array, parts: Sequence[Array] | None, root: int) -> None:
        """One of the root's arrays to each."""
        if self.rank != root:
            self.wait(self.post(root, array), root)
            return
        assert parts is not None
        for r in self.others:
            self.send(r, parts[r])
        array.reshape(-1)[:] = parts[root].reshape(-1)

    # Reducing -----------------------------------------------------------------------------------

    def _reduced(self, op: RedOpType, own: Array, receipts: dict[int, Receipt]) -> Array:
        """All members' arrays taken together, in the order of ranks."""
        total: Array | None = None
        for r in range(self.size):
            part = own if r == self.rank else self.wait(receipts[r], r)
            if total is None:
                total = part if r else part.copy()
            else:
                accumulate(op, total, part)
        assert total is not None
        finish(op, total, self.size)
        return total

    def reduce(self, array: Array, op: RedOpType, root: int) -> None:
        """The root's array becomes the reduction of all."""
        if self.rank != root:
            self.send(root, array)
            return
        receipts = {r: self.post(r, np.empty_like(array)) for r in self.others}
        array[...] = self._reduced(op, array, receipts)

    def reduce_scatter(self, output: Array, inputs: Sequence[Array], op: RedOpType) -> None:
        """output: the reduction of all members' inputs[this rank]."""
        receipts = {r: self.post(r, np.empty_like(inputs[self.rank])) for r in self.others}
        for r in self.others:
            self.send(r, inputs[r])
        total = self._reduced(op, inputs[self.rank], receipts)
        output.reshape(-1)[:] = total.reshape(-1)

    def all_reduce(self, array: Array, op: RedOpType) -> None:
        """Every member's array becomes the reduction of all. array: C-contiguous."""
        flat = array.reshape(-1)
        if self.size == 1:
            return
        if flat.nbytes <= _SMALL:
            receipts = {r: self.post(r, np.empty_like(flat)) for r in self.others}
            for r in self.others:
                self.send(r, flat)
            flat[:] = self._reduced(op, flat, receipts)
            return
        bounds = [len(flat) * r // self.size for r in range(self.size + 1)]
        parts = [flat[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
        self.reduce_scatter(parts[self.rank], parts, op)
        self.all_gather(parts, part=1)


def buffer_like(array: Array) -> Array:
    """Uninitialised memory for an array of this kind, which a tensor can take over."""
    made: Array = aligned(array.shape, array.dtype)
    return made


def parts_of(array: Array, count: int) -> list[Array]:
    """Equal parts of an array along its first dimension (of all its elements), as views."""
    flat: Any = array.reshape(-1)
    return [flat[i * len(flat) // count : (i + 1) * len(flat) // count] for i in range(count)]
