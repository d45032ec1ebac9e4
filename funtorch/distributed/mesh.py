"""Connections between all processes of a program: one socket for each pair.

A message has a tag; a receive that was posted for the tag gets it straight into its buffer. For each
connection a thread reads whatever comes, wanted yet or not, so that sending never waits for the other
side's program. A connection that ends, ends every receive that waits for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
import threading
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from funtorch.distributed.errors import DistBackendError
from funtorch.distributed.sockets import connect, listen, read_exactly, read_into
from funtorch.distributed.store import Store, own_address
from funtorch.lowering import aligned

Array = np.ndarray[Any, Any]
_HEAD = struct.Struct("!QqqQ")


class Tag(NamedTuple):
    """Which message: of which group, of which collective in it, which part of that."""

    group: int
    serial: int
    part: int


def group_number(name: str) -> int:
    """A group's name as a number in tags."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def octets(array: Array) -> memoryview:
    """The bytes of a C-contiguous array."""
    return memoryview(array.reshape(-1).view(np.uint8))


class Receipt:
    """A message that is to come. target: where it goes; None: wherever, as `found`."""

    __slots__ = ("_event", "error", "found", "source", "target")

    def __init__(self, target: Array | None) -> None:
        self.target = target
        self.found: Array | None = None
        self.source: int | None = None
        self.error: str | None = None
        self._event = threading.Event()

    def done(self) -> bool:
        """Has it come, or failed?"""
        return self._event.is_set()

    def fill(self, source: int, data: Array | None, error: str | None = None) -> None:
        """The message has come."""
        self.source, self.found, self.error = source, data, error
        self._event.set()

    def wait(self, what: str, own: int, peer: int | None, limit: float) -> Array:
        """The message. Raises DistBackendError, which says who waited for whom and what for."""
        if not self._event.wait(limit):
            whom = "any rank" if peer is None else f"rank {peer}"
            raise DistBackendError(
                f"{what}: rank {own} waited for {whom}, which did not come within the timeout "
                f"of {limit:g} s"
            )
        if self.error is not None:
            raise DistBackendError(f"{what}: rank {own}: {self.error}")
        assert self.found is not None
        return self.found


class _Peer:
    """One connection: what was posted for it, and what has come without having been."""

    def __init__(self, rank: int, link: socket.socket, limit: float) -> None:
        self.rank, self.link = rank, link
        self.sending = threading.Lock()
        self.posted: dict[Tag, deque[Receipt]] = {}
        self.arrived: dict[Tag, deque[Array]] = {}
        self.lost: str | None = None
        whole = struct.pack("ll", int(limit), int(limit % 1 * 1e6))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, whole)


class Mesh:
    """Connections of rank `rank` among `size` processes that find each other by a store."""

    def __init__(self, store: Store, rank: int, size: int, limit: float) -> None:
        self.rank, self.size = rank, size
        self._lock = threading.Lock()
        self._anywhere: dict[Tag, deque[Receipt]] = {}
        self._peers: dict[int, _Peer] = {}
        if size > 1:
            self._join(store, limit)

    def _join(self, store: Store, limit: float) -> None:
        """Connect to lower ranks, accept higher ones; who knows the store's token belongs."""
        if self.rank == 0:
            store.set("token", os.urandom(16))
        host = own_address(store)
        with listen("::" if ":" in host else host, 0) as listener:
            store.set(f"address/{self.rank}", f"{host} {listener.getsockname()[1]}")
            token = store.get("token")
            for rank in range(self.rank):
                where, port = store.get(f"address/{rank}").decode().split()
                link = connect(where, int(port), limit)
                link.sendall(token + struct.pack("!q", self.rank))
                self._add(rank, link, limit)
            listener.settimeout(limit)
            while len(self._peers) < self.size - 1:
                self._accept(listener, token, limit)
        if store.add("joined", 1) == self.size:
            store.set("all", b"1")
        store.wait(["all"])

    def _accept(self, listener: socket.socket, token: bytes, limit: float) -> None:
        try:
            link, _ = listener.accept()
        except TimeoutError as error:
            missing = sorted(set(range(self.rank + 1, self.size)) - set(self._peers))
            raise DistBackendError(
                f"init_process_group: rank {self.rank} waited {limit:g} s for ranks {missing}"
            ) from error
        link.settimeout(limit)
        with contextlib.suppress(OSError):
            said = read_exactly(link, len(token) + 8)
            if said[: len(token)] == token:
                link.settimeout(None)
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._add(struct.unpack("!q", said[len(token) :])[0], link, limit)
                return
        link.close()

    def _add(self, rank: int, link: socket.socket, limit: float) -> None:
        peer = self._peers[rank] = _Peer(rank, link, limit)
        name = f"funtorch-peer-{rank}"
        threading.Thread(target=self._read, args=(peer,), name=name, daemon=True).start()

    # Sending and receiving ------------------------------------------------------------------

    def send(self, what: str, rank: int, tag: Tag, array: Array) -> None:
        """Send an array's bytes; returns once they are on their way. rank: in the whole program."""
        peer, data = self._peers[rank], octets(array)
        head = _HEAD.pack(*tag, len(data))
        try:
            with peer.sending:
                sent = peer.link.sendmsg([head, data]) - len(head)
                if sent < 0:
                    raise ConnectionError("message cut short")
                while sent < len(data):
                    sent += peer.link.send(data[sent:])
        except OSError as error:
            why = peer.lost or f"cannot send to rank {rank}: {error}"
            raise DistBackendError(f"{what}: rank {self.rank}: {why}") from error

    def post(self, rank: int | None, tag: Tag, target: Array | None) -> Receipt:
        """Be ready for a message of a rank, or of any."""
        receipt = Receipt(target)
        with self._lock:
            of = [*self._peers.values()] if rank is None else [self._peers[rank]]
            for peer in of:
                waiting = peer.arrived.get(tag)
                if waiting:
                    data = waiting.popleft()
                    if not waiting:
                        del peer.arrived[tag]
                    _deliver(receipt, peer.rank, data)
                    return receipt
            if all(peer.lost for peer in of):
                receipt.fill(self.rank, None, next((p.lost for p in of), "there is nobody else"))
            elif rank is None:
                self._anywhere.setdefault(tag, deque()).append(receipt)
            else:
                self._peers[rank].posted.setdefault(tag, deque()).append(receipt)
        return receipt

    def _take(self, peer: _Peer, tag: Tag) -> Receipt | None:
        """The first receipt that waits for this message."""
        for table in (peer.posted, self._anywhere):
            queue = table.get(tag)
            if queue:
                receipt = queue.popleft()
                if not queue:
                    del table[tag]
                return receipt
        return None

    def _read(self, peer: _Peer) -> None:
        """Read messages for ever. (In a thread of its own.)"""
        receipt: Receipt | None = None
        try:
            while True:
                *key, size = _HEAD.unpack(read_exactly(peer.link, _HEAD.size))
                tag = Tag(*key)
                with self._lock:
                    receipt = self._take(peer, tag)
                target = None if receipt is None else receipt.target
                if receipt is not None and target is not None and target.nbytes == size:
                    read_into(peer.link, octets(target))
                    receipt.fill(peer.rank, target)
                    continue
                data = aligned((size,), np.dtype(np.uint8))
                read_into(peer.link, memoryview(data))
                with self._lock:
                    receipt = receipt or self._take(peer, tag)
                    if receipt is None:
                        peer.arrived.setdefault(tag, deque()).append(data)
                if receipt is not None:
                    _deliver(receipt, peer.rank, data)
        except OSError:
            if receipt is not None and not receipt.done():
                receipt.fill(peer.rank, None, _lost(peer.rank))
            self._lose(peer)

    def _lose(self, peer: _Peer) -> None:
        with self._lock:
            peer.lost = _lost(peer.rank)
            waiting = [receipt for queue in peer.posted.values() for receipt in queue]
            peer.posted.clear()
            if all(other.lost for other in self._peers.values()):
                waiting += [receipt for queue in self._anywhere.values() for receipt in queue]
                self._anywhere.clear()
        for receipt in waiting:
            receipt.fill(peer.rank, None, peer.lost)
        peer.link.close()

    def close(self) -> None:
        """Say goodbye; what others still send is read until they do so too."""
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.link.shutdown(socket.SHUT_WR)


def _lost(rank: int) -> str:
    return f"the connection to rank {rank} was closed by that process (has it ended?)"


def _deliver(receipt: Receipt, source: int, data: Array) -> None:
    """Hand over a message that was read before anybody wanted it, or is of another size."""
    target = receipt.target
    if target is None:
        receipt.fill(source, data)
    elif target.nbytes != len(data):
        error = f"rank {source} sent {len(data)} bytes where {target.nbytes} were expected"
        receipt.fill(source, None, error)
    else:
        octets(target)[:] = memoryview(data)
        receipt.fill(source, target)
