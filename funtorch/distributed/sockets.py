"""Messages over sockets: exact reads, connections that are tried until a deadline."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from datetime import timedelta

from funtorch.distributed.errors import DistNetworkError

_COUNT = struct.Struct("!I")
_LENGTH = struct.Struct("!q")


def seconds(timeout: timedelta | float | None, default: float = 1800.0) -> float:
    """A time limit as a number of seconds."""
    if timeout is None:
        return default
    return timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)


def read_into(link: socket.socket, view: memoryview) -> None:
    """Fill a buffer of bytes. Raises ConnectionError if the other side closes before."""
    at = 0
    while at < len(view):
        count = link.recv_into(view[at:])
        if not count:
            raise ConnectionError("closed by peer")
        at += count


def read_exactly(link: socket.socket, count: int) -> bytearray:
    """So many bytes."""
    made = bytearray(count)
    read_into(link, memoryview(made))
    return made


def send_fields(link: socket.socket, fields: Sequence[bytes | None]) -> None:
    """A message of several byte strings; None is told from an empty one."""
    parts = [_COUNT.pack(len(fields))]
    for field in fields:
        parts.append(_LENGTH.pack(-1 if field is None else len(field)))
        parts.append(field or b"")
    link.sendall(b"".join(parts))


def read_fields(link: socket.socket) -> list[bytes | None]:
    """What `send_fields` sent."""
    (count,) = _COUNT.unpack(read_exactly(link, _COUNT.size))
    made: list[bytes | None] = []
    for _ in range(count):
        (length,) = _LENGTH.unpack(read_exactly(link, _LENGTH.size))
        made.append(None if length < 0 else bytes(read_exactly(link, length)))
    return made


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0: any that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise DistNetworkError(f"cannot listen on {host}:{port}: {error}") from error
    made.listen(512)
    return made


def connect(host: str, port: int, limit: float) -> socket.socket:
    """A connection, tried again until `limit` seconds are over. Raises DistNetworkError."""
    deadline, pause = time.monotonic() + limit, 0.005
    while True:
        left = deadline - time.monotonic()
        try:
            made = socket.create_connection((host, port), timeout=max(left, 0.001))
        except OSError as error:
            if deadline - time.monotonic() <= pause:
                raise DistNetworkError(
                    f"no connection to {host}:{port} within {limit:g} s: {error}"
                ) from error
            time.sleep(pause)
            pause = min(2 * pause, 0.2)
            continue
        made.settimeout(None)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
