"""torch.distributed.rpc: processes that call each other's functions.

Without distributed autograd: a call's arguments and result are copies off the tape.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from funtorch.distributed.constants import default_pg_timeout
from funtorch.distributed.rendezvous import read, rendezvous
from funtorch.distributed.rpc.agent import Agent, WorkerInfo
from funtorch.distributed.store import PrefixStore
from funtorch.futures import Future

__all__ = [
    "RRef",
    "RpcBackendOptions",
    "TensorPipeRpcBackendOptions",
    "WorkerInfo",
    "functions",
    "get_rpc_timeout",
    "get_worker_info",
    "init_rpc",
    "is_available",
    "remote",
    "rpc_async",
    "rpc_sync",
    "shutdown",
]


@dataclass
class RpcBackendOptions:
    """rpc_timeout: seconds that a call may take, 0 for ever. init_method: how workers meet."""

    rpc_timeout: float = 60.0
    init_method: str = "env://"


@dataclass
class TensorPipeRpcBackendOptions(RpcBackendOptions):
    """The same, with the number of threads that answer others. (PyTorch has the threads first.)"""

    num_worker_threads: int = field(default=16, kw_only=True)
    device_maps: Any = field(default=None, kw_only=True)
    devices: Any = field(default=None, kw_only=True)


class functions:  # noqa: N801  (a module in PyTorch)
    """`functions.async_execution`."""

    @staticmethod
    def async_execution(function: Callable[..., Any]) -> Callable[..., Any]:
        """Marks a function whose result is a future: callers get what that holds."""
        function._is_async = True  # type: ignore[attr-defined]
        return function


_agents: list[Agent] = []
_started = [0]


def is_available() -> bool:
    """Can processes call each other's functions? Yes."""
    return True


def _agent() -> Agent:
    if not _agents:
        raise RuntimeError(
            "RPC has not been initialized. Call torch.distributed.rpc.init_rpc first."
        )
    return _agents[0]


def init_rpc(
    name: str,
    backend: Any = None,
    rank: int = -1,
    world_size: int | None = None,
    rpc_backend_options: RpcBackendOptions | None = None,
) -> None:
    """Become a worker of this name; returns once all workers are there."""
    if _agents:
        raise RuntimeError("RPC is already initialized")
    options = rpc_backend_options or TensorPipeRpcBackendOptions()
    if options.init_method.startswith("env://"):
        rank = int(read("RANK")) if rank < 0 else rank
        world_size = int(os.environ.get("WORLD_SIZE", "-1")) if world_size is None else world_size
    found = rendezvous(options.init_method, rank, -1 if world_size is None else world_size,
                       default_pg_timeout)  # fmt: skip
    store, rank, size = next(found)
    _started[0] += 1
    own = PrefixStore(f"rpc/{_started[0]}", store)
    own.set_timeout(timedelta(minutes=30))
    threads = getattr(options, "num_worker_threads", 16)
    _agents.append(Agent(name, own, rank, size, threads, options.rpc_timeout))


def shutdown(graceful: bool = True, timeout: float = 0) -> None:
    """Wait until all workers have called it and no call is under way, then stop answering."""
    _agent().stop(graceful)
    _agents.clear()


def get_worker_info(worker_name: str | None = None) -> WorkerInfo:
    """A worker by name; without, this process."""
    return _agent().me if worker_name is None else _agent().worker(worker_name)


def get_rpc_timeout() -> float:
    """Seconds that a call may take, 0 for ever."""
    return _agent().limit


def rpc_async(
    to: Any, func: Callable[..., Any], args: Any = None, kwargs: Any = None, timeout: float = -1.0
) -> Future[Any]:
    """Call a function in the worker `to` (a name, rank or WorkerInfo); its result comes later."""
    kind = "async" if getattr(func, "_is_async", False) else "call"
    return _agent().call(to, kind, (func, tuple(args or ()), dict(kwargs or {})), timeout)


def rpc_sync(
    to: Any, func: Callable[..., Any], args: Any = None, kwargs: Any = None, timeout: float = -1.0
) -> Any:
    """Call a function in a worker and wait for its result. Its error is raised here."""
    return rpc_async(to, func, args, kwargs, timeout).wait()


def remote(
    to: Any, func: Callable[..., Any], args: Any = None, kwargs: Any = None, timeout: float = -1.0
) -> RRef:
    """Call a function in a worker where its result stays; returns a reference to that."""
    agent = _agent()
    made = RRef._to(agent.worker(to), (agent.me.id, agent.number()))
    held = (made._key, func, tuple(args or ()), dict(kwargs or {}))
    made._making = agent.call(to, "make", held, timeout)
    return made


class RRef:
    """A reference to a value in some process, which keeps it until `shutdown`."""

    _owner: WorkerInfo
    _key: tuple[int, int]
    _making: Future[Any] | None = None

    def __init__(self, value: Any, type_hint: Any = None) -> None:
        agent = _agent()
        self._owner, self._key = agent.me, (agent.me.id, agent.number())
        agent.held.setdefault(self._key, Future()).set_result(value)

    @classmethod
    def _to(cls, owner: WorkerInfo, key: tuple[int, int]) -> RRef:
        made = cls.__new__(cls)
        made._owner, made._key = owner, key
        return made

    def __reduce__(self) -> Any:
        return RRef._to, (self._owner, self._key)

    def owner(self) -> WorkerInfo:
        """Where the value is."""
        return self._owner

    def owner_name(self) -> str:
        """The name of the worker where it is."""
        return self._owner.name

    def is_owner(self) -> bool:
        """Is it here?"""
        return self._owner == _agent().me

    def confirmed_by_owner(self) -> bool:
        """Has the call that makes it ended?"""
        return self._making is None or self._making.done()

    def local_value(self) -> Any:
        """The value itself, in the process that has it."""
        if not self.is_owner():
            raise RuntimeError(
                f"For UserRRef({self._key}), can't call local_value() on user {_agent().me}. Call "
                "it on the owner."
            )
        return _agent().fetch(self._key).wait()

    def to_here(self, timeout: float = -1.0) -> Any:
        """A copy of the value (itself, in the process that has it)."""
        if self._making is not None:
            self._making.wait()  # raises the error of the call that was to make it
        if self.is_owner():
            return self.local_value()
        return _agent().call(self._owner, "fetch", (self._key,), timeout).wait()

    def rpc_sync(self, timeout: float = -1.0) -> Any:
        """`rref.rpc_sync().method(x)` calls a method of the value where it is."""
        return _Methods(self, rpc_sync, timeout)

    def rpc_async(self, timeout: float = -1.0) -> Any:
        """The same; the result comes later."""
        return _Methods(self, rpc_async, timeout)

    def remote(self, timeout: float = -1.0) -> Any:
        """The same; the result stays there."""
        return _Methods(self, remote, timeout)

    def __repr__(self) -> str:
        kind = "OwnerRRef" if self.is_owner() else "UserRRef"
        return f"{kind}({self._key}, owner={self._owner})"


class _Methods:
    """Gives functions that call methods of a value elsewhere."""

    def __init__(self, rref: RRef, how: Callable[..., Any], timeout: float) -> None:
        self._rref, self._how, self._timeout = rref, how, timeout

    def __getattr__(self, name: str) -> Callable[..., Any]:
        rref, how, timeout = self._rref, self._how, self._timeout

        def call(*args: Any, **kwargs: Any) -> Any:
            return how(rref.owner(), _call_method, (rref, name, args, kwargs), timeout=timeout)

        return call


def _call_method(rref: RRef, name: str, args: Any, kwargs: Any) -> Any:
    return getattr(rref.local_value(), name)(*args, **kwargs)
