"""Calls between processes: requests and replies over a mesh of connections, each a pickle.

As in PyTorch, whoever takes part can run anything in the others: for processes that trust each other.
"""

from __future__ import annotations

import itertools
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from funtorch.distributed.errors import DistBackendError
from funtorch.distributed.exchange import Exchange
from funtorch.distributed.mesh import Mesh, Tag, group_number
from funtorch.distributed.store import Store
from funtorch.futures import Future

_GROUP = group_number("rpc")
_CALLS = Tag(_GROUP, -1, 0)
_FOREVER = threading.TIMEOUT_MAX


class WorkerInfo(NamedTuple):
    """A process: its name, and its rank as `id`."""

    name: str
    id: int

    def __repr__(self) -> str:
        return f"WorkerInfo(id={self.id}, name={self.name})"


class Reply(Future[Any]):
    """The result of a call, which is waited for so long. (0: for ever.)"""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._deadline = time.monotonic() + limit if limit else None

    def wait(self) -> Any:
        if self._deadline is None:
            return super().wait()
        with self._ended:
            left = max(self._deadline - time.monotonic(), 0)
            if not self._ended.wait_for(lambda: self._done, left):
                raise RuntimeError("RPC ran for more than its timeout")
        return self.value()


class Agent:
    """This process among the workers. threads: how many calls of others run at once."""

    def __init__(
        self, name: str, store: Store, rank: int, size: int, threads: int, limit: float
    ) -> None:
        store.set(f"name/{rank}", name)
        self.workers = [WorkerInfo(store.get(f"name/{r}").decode(), r) for r in range(size)]
        if len({worker.name for worker in self.workers}) != size:
            raise RuntimeError(f"RPC worker name {name} is not unique.")
        self.me, self.limit = self.workers[rank], limit
        self.held: dict[tuple[int, int], Future[Any]] = {}
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[int, Reply]] = {}
        self._quiet = threading.Condition()
        self._pool = ThreadPoolExecutor(threads, "funtorch-rpc")
        self._mesh = Mesh(store, rank, size, limit or 1800.0)
        for other in self.workers:
            if other.id != rank:
                receiving = threading.Thread(target=self._receive, args=(other.id,), daemon=True)
                receiving.start()

    def worker(self, to: Any) -> WorkerInfo:
        """The worker that a name, rank or WorkerInfo means."""
        for worker in self.workers:
            if to in (worker.name, worker.id) or to == worker:
                return worker
        raise ValueError(f"Unknown destination worker {to!r}")

    def number(self) -> int:
        """A new one."""
        return next(self._numbers)

    def call(self, to: Any, kind: str, held: Any, timeout: float = -1.0) -> Reply:
        """Ask a worker for something; kind: a name in `_KINDS`."""
        worker, limit = self.worker(to), self.limit if timeout < 0 else timeout
        reply, number = Reply(limit), self.number()
        with self._quiet:
            self._waiting[number] = worker.id, reply
        reply.add_done_callback(lambda _: self._forget(number))
        data = pickle.dumps((kind, number, pickle.dumps(held)))
        if worker == self.me:
            self._handle(self.me.id, data)
            return reply
        try:
            self._send(worker.id, data)
        except DistBackendError as error:
            reply.set_exception(RuntimeError(str(error)))
        return reply

    def _forget(self, number: int) -> None:
        with self._quiet:
            self._waiting.pop(number, None)
            self._quiet.notify_all()

    def _send(self, rank: int, data: bytes) -> None:
        if rank == self.me.id:
            self._handle(rank, data)
        else:
            self._mesh.send("rpc", rank, _CALLS, np.frombuffer(data, np.uint8))

    def _receive(self, rank: int) -> None:
        """Take what comes from a worker. (In a thread of its own.)"""
        try:
            while True:
                receipt = self._mesh.post(rank, _CALLS, None)
                self._handle(rank, receipt.wait("rpc", self.me.id, rank, _FOREVER).tobytes())
        except DistBackendError as error:
            with self._quiet:
                lost = [reply for whose, reply in self._waiting.values() if whose == rank]
            for reply in lost:
                reply.set_exception(RuntimeError(str(error)))

    def _handle(self, source: int, data: bytes) -> None:
        kind, number, held = pickle.loads(data)
        if kind != "reply":
            self._pool.submit(self._answer, source, kind, number, held)
            return
        found = self._waiting.get(number)
        if found is not None:
            self._pool.submit(_finish, found[1], held)

    def _answer(self, source: int, kind: str, number: int, held: bytes) -> None:
        """Do what was asked, and send what came of it."""

        def send(done: Future[Any]) -> None:
            try:
                told = pickle.dumps((True, done.value()))
            except Exception as error:
                told = pickle.dumps((False, _told(error, self.me)))
            self._send(source, pickle.dumps(("reply", number, told)))

        ended: Future[Any] = Future()
        try:
            made = _KINDS[kind](self, *pickle.loads(held))
        except Exception as error:
            ended.set_exception(error)
        else:
            if isinstance(made, Future) and kind != "call":
                made.add_done_callback(send)
                return
            ended.set_result(made)
        send(ended)

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A call."""
        return function(*args, **kwargs)

    def wait_for(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A call of a function that gives a future: its result."""
        return function(*args, **kwargs)

    def make(self, key: tuple[int, int], function: Any, args: Any, kwargs: Any) -> None:
        """A call whose result stays here."""
        kept = self.held.setdefault(key, Future())
        kept._follow(lambda: function(*args, **kwargs))
        kept.value()

    def fetch(self, key: tuple[int, int]) -> Future[Any]:
        """What stays here, once it is there."""
        return self.held.setdefault(key, Future())

    def stop(self, graceful: bool) -> None:
        """Wait until nobody has calls under way, then part."""
        if graceful:
            for serial in range(1, 3):  # answers to calls may have made calls of their own
                with self._quiet:
                    self._quiet.wait_for(lambda: not self._waiting)
                ranks = [worker.id for worker in self.workers]
                Exchange(self._mesh, ranks, _GROUP, serial, "shutdown", 1800.0).barrier()
        self._pool.shutdown(wait=graceful)
        self._mesh.close()


_KINDS = {"call": Agent.run, "async": Agent.wait_for, "make": Agent.make, "fetch": Agent.fetch}


def _told(error: BaseException, where: WorkerInfo) -> BaseException:
    """An error with the place where it was raised, of the same class if that takes a text."""
    lines = "".join(traceback.format_exception(error))
    text = f"On {where}:\n{error!r}\n{lines}"
    try:
        made = type(error)(text)
        pickle.loads(pickle.dumps(made))
    except Exception:
        return RuntimeError(text)
    return made


def _finish(reply: Reply, held: bytes) -> None:
    if reply.done():
        return
    try:
        good, result = pickle.loads(held)
    except Exception as error:
        good, result = False, error
    if good:
        reply.set_result(result)
    else:
        reply.set_exception(result)
