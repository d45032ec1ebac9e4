"""Stores: tables of keys and bytes that several processes share to find each other.

One table of operations (`Table`), three ways to it: within the process (HashStore), over a socket
(TCPStore), by a file (FileStore). Like PyTorch's, none of them asks who is there: use them within
a network that is one's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from funtorch.distributed.errors import DistNetworkError, DistStoreError, QueueEmptyError
from funtorch.distributed.sockets import connect, listen, read_fields, seconds, send_fields

Fields = Sequence[bytes | None]


class Table:
    """Keys and values, and the operations on them. Not locked: whoever holds it does that."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}
        self.queues: dict[bytes, list[bytes]] = {}

    def apply(self, op: str, fields: Fields) -> list[bytes | None]:
        """Do one operation."""
        found: list[bytes | None] = getattr(self, f"do_{op}")(*fields)
        return found

    def do_set(self, key: bytes, value: bytes) -> list[bytes | None]:
        self.held[key] = value
        return []

    def do_get(self, *keys: bytes) -> list[bytes | None]:
        return [self.held.get(key) for key in keys]

    def do_check(self, *keys: bytes) -> list[bytes | None]:
        return [b"1" if key in self.held or self.queues.get(key) else None for key in keys]

    def do_add(self, key: bytes, amount: bytes) -> list[bytes | None]:
        self.held[key] = str(int(self.held.get(key, b"0")) + int(amount)).encode()
        return [self.held[key]]

    def do_append(self, key: bytes, value: bytes) -> list[bytes | None]:
        self.held[key] = self.held.get(key, b"") + value
        return []

    def do_compare(self, key: bytes, expected: bytes, wanted: bytes) -> list[bytes | None]:
        now = self.held.get(key)
        if now == expected or (now is None and not expected):
            self.held[key] = wanted
            return [wanted]
        return [expected if now is None else now]

    def do_delete(self, key: bytes) -> list[bytes | None]:
        return [b"1" if self.held.pop(key, None) is not None else None]

    def do_keys(self) -> list[bytes | None]:
        return list(self.held)

    def do_push(self, key: bytes, value: bytes) -> list[bytes | None]:
        self.queues.setdefault(key, []).append(value)
        return []

    def do_pop(self, key: bytes) -> list[bytes | None]:
        queue = self.queues.get(key)
        return [queue.pop(0) if queue else None]

    def do_length(self, key: bytes) -> list[bytes | None]:
        return [str(len(self.queues.get(key, ()))).encode()]


class Store:
    """The face of all stores. Values are bytes; a str is encoded."""

    def __init__(self, timeout: timedelta | float | None = None) -> None:
        self._limit = seconds(timeout, 300.0)

    def _do(self, op: str, *fields: bytes) -> list[bytes | None]:
        """One operation of the table."""
        raise NotImplementedError

    def _wait(self, keys: Sequence[bytes], limit: float) -> bool:
        """Wait until all keys are there. False: the time is over."""
        raise NotImplementedError

    @property
    def timeout(self) -> timedelta:
        """How long `get` and `wait` wait."""
        return timedelta(seconds=self._limit)

    def set_timeout(self, timeout: timedelta) -> None:
        """Change how long `get` and `wait` wait."""
        self._limit = seconds(timeout)

    def set(self, key: str, value: str | bytes) -> None:
        """Write a value."""
        self._do("set", key.encode(), _bytes(value))

    def get(self, key: str) -> bytes:
        """A value, which is waited for. Raises DistStoreError when the time is over."""
        return self.multi_get([key])[0]

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Several values."""
        self.wait(keys)
        return [value or b"" for value in self._do("get", *map(str.encode, keys))]

    def multi_set(self, keys: Sequence[str], values: Sequence[str | bytes]) -> None:
        """Write several values."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def add(self, key: str, amount: int) -> int:
        """Count up, from 0 if the key is not there; returns the sum."""
        return int(self._do("add", key.encode(), str(amount).encode())[0] or 0)

    def append(self, key: str, value: str | bytes) -> None:
        """Write behind what is there."""
        self._do("append", key.encode(), _bytes(value))

    def check(self, keys: Sequence[str]) -> bool:
        """Are all these keys there?"""
        return all(self._do("check", *map(str.encode, keys)))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there. Raises DistStoreError when the time is over."""
        limit = seconds(timeout, self._limit)
        if not self._wait([*map(str.encode, keys)], limit):
            raise DistStoreError(f"wait timeout after {limit * 1000:g}ms, keys: {', '.join(keys)}")

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        """Write only where the expected value (or, for '', nothing) is; returns what is there."""
        fields = (key.encode(), _bytes(expected_value), _bytes(desired_value))
        return self._do("compare", *fields)[0] or b""

    def delete_key(self, key: str) -> bool:
        """Remove a key. Was it there?"""
        return self._do("delete", key.encode())[0] is not None

    def num_keys(self) -> int:
        """How many keys there are."""
        return len(self._do("keys"))

    def list_keys(self) -> list[str]:
        """All keys."""
        return [key.decode() for key in self._do("keys") if key is not None]

    def queue_push(self, key: str, value: str | bytes) -> None:
        """Put at the end of a queue."""
        self._do("push", key.encode(), _bytes(value))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        """Take from the front of a queue. Raises QueueEmptyError without `block`."""
        while (found := self._do("pop", key.encode())[0]) is None:
            if not block:
                raise QueueEmptyError(f"queue is empty: {key}")
            self.wait([key])
        return found

    def queue_len(self, key: str) -> int:
        """How many values are in a queue."""
        return int(self._do("length", key.encode())[0] or 0)

    def has_extended_api(self) -> bool:
        """Are `append`, `multi_get` and `multi_set` there?"""
        return True


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


class _Shared:
    """A table that threads share, and wait at."""

    def __init__(self) -> None:
        self.table = Table()
        self.changed = threading.Condition()

    def do(self, op: str, fields: Fields) -> list[bytes | None]:
        """One operation; wakes those who wait."""
        with self.changed:
            found = self.table.apply(op, fields)
            self.changed.notify_all()
        return found

    def wait(self, keys: Fields, limit: float) -> bool:
        """Until all keys are there."""
        with self.changed:
            return self.changed.wait_for(lambda: all(self.table.apply("check", keys)), limit)


class HashStore(Store):
    """A store for the threads of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._shared = _Shared()

    def _do(self, op: str, *fields: bytes) -> list[bytes | None]:
        return self._shared.do(op, fields)

    def _wait(self, keys: Sequence[bytes], limit: float) -> bool:
        return self._shared.wait(keys, limit)


class _Server:
    """Answers the clients of a TCPStore, each in a thread."""

    def __init__(self, host: str, port: int, made: socket.socket | None = None) -> None:
        self.listener = made or listen(host, port)
        self.port = int(self.listener.getsockname()[1])
        self.shared = _Shared()
        threading.Thread(target=self._accept, name="TCPStore", daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                link, _ = self.listener.accept()
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _answer(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            while True:
                op, *fields = read_fields(link)
                if op == b"wait":
                    limit, *keys = fields
                    came = self.shared.wait(keys, float(limit or 0))
                    send_fields(link, [b"1" if came else None])
                else:
                    send_fields(link, self.shared.do((op or b"").decode(), fields))


class TCPStore(Store):
    """A store that the process with `is_master` serves on a port (0: any); the others are clients.

    With `world_size` and `wait_for_workers` it waits until so many have come.
    """

    def __init__(
        self,
        host_name: str,
        port: int,
        world_size: int | None = None,
        is_master: bool = False,
        timeout: timedelta = timedelta(seconds=300),
        wait_for_workers: bool = True,
        multi_tenant: bool = False,
        master_listen_fd: int | None = None,
        use_libuv: bool = True,
    ) -> None:
        super().__init__(timeout)
        self._server: _Server | None = None
        if is_master:
            given = None if master_listen_fd is None else socket.socket(fileno=master_listen_fd)
            self._server = _serve(host_name, port, given, multi_tenant)
            port = self._server.port
        self._host, self._port = host_name, port
        self._link = connect(host_name, port, self._limit)
        self._busy = threading.Lock()
        if world_size is not None and wait_for_workers:
            self._gather(world_size)

    def _gather(self, world_size: int) -> None:
        if self.add("\0workers", 1) == world_size:
            self.set("\0workers/all", b"1")
        if not self._wait([b"\0workers/all"], self._limit):
            came = self.add("\0workers", 0)
            raise DistStoreError(
                f"Timed out after {self._limit:g} seconds waiting for clients. "
                f"{came}/{world_size} clients joined."
            )

    def _ask(self, *fields: bytes) -> list[bytes | None]:
        try:
            with self._busy:
                send_fields(self._link, fields)
                return read_fields(self._link)
        except OSError as error:
            raise DistNetworkError(
                f"the store at {self._host}:{self._port} does not answer: {error}"
            ) from error

    def _do(self, op: str, *fields: bytes) -> list[bytes | None]:
        return self._ask(op.encode(), *fields)

    def _wait(self, keys: Sequence[bytes], limit: float) -> bool:
        return self._ask(b"wait", str(limit).encode(), *keys)[0] is not None

    def list_keys(self) -> list[str]:
        """All keys that users wrote."""
        return [key for key in super().list_keys() if not key.startswith("\0")]

    def num_keys(self) -> int:
        """How many keys users wrote."""
        return len(self.list_keys())

    def clone(self) -> TCPStore:
        """Another connection to the same store."""
        return TCPStore(self._host, self._port, timeout=self.timeout)

    def own_address(self) -> str:
        """The address under which this process is known where the store is."""
        return str(self._link.getsockname()[0])

    @property
    def host(self) -> str:
        """Where the store is."""
        return self._host

    @property
    def port(self) -> int:
        """Its port."""
        return self._port


_servers: dict[int, _Server] = {}


def _serve(host: str, port: int, given: socket.socket | None, shared: bool) -> _Server:
    """A server on this port; with `shared` the one that this process has there already."""
    if shared and port in _servers:
        return _servers[port]
    local = host in ("localhost", "127.0.0.1")
    server = _Server("127.0.0.1" if local else "0.0.0.0", port, given)
    if shared:
        _servers[server.port] = server
    return server


class FileStore(Store):
    """A store in a file that all processes reach: a list of what was done, under a lock."""

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        super().__init__()
        self._path = Path(file_name)
        self._table, self._at = Table(), 0
        self._busy = threading.Lock()

    @property
    def path(self) -> str:
        """The file's name."""
        return str(self._path)

    @contextlib.contextmanager
    def _current(self) -> Iterator[BinaryIO]:
        """The file, locked, and the table as it is now."""
        with self._busy, self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(self._at)
            for op, fields in _records(file):
                self._table.apply(op, fields)
            self._at = file.tell()
            yield file

    def _do(self, op: str, *fields: bytes) -> list[bytes | None]:
        with self._current() as file:
            found = self._table.apply(op, fields)
            if op not in ("get", "check", "keys", "length"):
                _write_record(file, op, fields)
                file.flush()
                self._at = file.tell()
            return found

    def _wait(self, keys: Sequence[bytes], limit: float) -> bool:
        return _until(lambda: all(self._do("check", *keys)), limit)


def _until(there: Callable[[], bool], limit: float) -> bool:
    deadline, pause = time.monotonic() + limit, 0.001
    while not there():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return True


def _write_record(file: BinaryIO, op: str, fields: Sequence[bytes]) -> None:
    parts = [op.encode(), *fields]
    lengths = " ".join(str(len(part)) for part in parts)
    file.write(lengths.encode() + b"\n" + b"".join(parts))


def _records(file: BinaryIO) -> Iterator[tuple[str, list[bytes]]]:
    while line := file.readline():
        op, *fields = [file.read(int(length)) for length in line.split()]
        yield op.decode(), fields


class PrefixStore(Store):
    """Another store, all of whose keys begin alike."""

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__(store.timeout)
        self._prefix, self.underlying_store = f"{prefix}/".encode(), store

    def _do(self, op: str, *fields: bytes) -> list[bytes | None]:
        if op in ("get", "check"):
            fields = tuple(self._prefix + key for key in fields)
        elif op == "keys":
            found = [key for key in self.underlying_store._do(op) if key is not None]
            own = [key for key in found if key.startswith(self._prefix)]
            return [key[len(self._prefix) :] for key in own]
        else:
            fields = (self._prefix + fields[0], *fields[1:])
        return self.underlying_store._do(op, *fields)

    def _wait(self, keys: Sequence[bytes], limit: float) -> bool:
        return self.underlying_store._wait([self._prefix + key for key in keys], limit)


def own_address(store: Store) -> str:
    """The address under which other processes reach this one."""
    while isinstance(store, PrefixStore):
        store = store.underlying_store
    if "FUNTORCH_ADDRESS" in os.environ:
        return os.environ["FUNTORCH_ADDRESS"]
    if isinstance(store, TCPStore):
        return store.own_address()
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"
