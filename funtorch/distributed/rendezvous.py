"""How processes find each other: `env://`, `tcp://host:port`, `file:///path`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlparse

from funtorch.distributed.store import FileStore, Store, TCPStore

Found = tuple[Store, int, int]
_handlers: dict[str, Callable[..., Iterator[Found]]] = {}


def register_rendezvous_handler(scheme: str, handler: Callable[..., Iterator[Found]]) -> None:
    """A function that knows URLs of another kind."""
    if scheme in _handlers:
        raise RuntimeError(f"Rendezvous handler for {scheme}:// already registered")
    _handlers[scheme] = handler


def rendezvous(
    url: str,
    rank: int = -1,
    world_size: int = -1,
    timeout: timedelta = timedelta(minutes=30),
    **kwargs: Any,
) -> Iterator[Found]:
    """Yields (store, rank, number of processes). Raises ValueError if one of them is not said."""
    parts = urlparse(url)
    if parts.scheme in _handlers:
        yield from _handlers[parts.scheme](url, timeout=timeout, **kwargs)
        return
    said = {key: values[0] for key, values in parse_qs(parts.query).items()}
    rank = int(said.get("rank", rank))
    world_size = int(said.get("world_size", world_size))
    if parts.scheme == "env":
        rank, world_size = from_environment(rank, world_size)
        yield _over_tcp(read("MASTER_ADDR"), int(read("MASTER_PORT")), rank, world_size, timeout)
        return
    if parts.scheme not in ("tcp", "file"):
        raise RuntimeError(f"No rendezvous handler for {parts.scheme}://")
    for name, value in (("rank", rank), ("world size", world_size)):
        if value < 0:
            raise ValueError(f"Error initializing torch.distributed using {url}: {name} missing")
    if parts.scheme == "tcp":
        if not parts.port:
            raise ValueError("Error initializing torch.distributed using tcp://: port missing")
        yield _over_tcp(str(parts.hostname), parts.port, rank, world_size, timeout)
        return
    store = FileStore(parts.path, world_size)
    store.set_timeout(timeout)
    yield store, rank, world_size


def _over_tcp(host: str, port: int, rank: int, world_size: int, timeout: timedelta) -> Found:
    """A TCPStore that rank 0 serves, unless torchrun's launcher does."""
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(host, port, world_size, rank == 0 and not served, timeout, multi_tenant=True)
    return store, rank, world_size


def read(name: str) -> str:
    """A variable of the environment. Raises ValueError if it is not set."""
    if name not in os.environ:
        raise ValueError(
            "Error initializing torch.distributed using env:// rendezvous: environment "
            f"variable {name} expected, but not set"
        )
    return os.environ[name]


def from_environment(rank: int, world_size: int) -> tuple[int, int]:
    """Rank and number of processes, from the environment where they are not given."""
    rank = int(read("RANK")) if rank < 0 else rank
    world_size = int(read("WORLD_SIZE")) if world_size < 0 else world_size
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        read(name)
    return rank, world_size
