"""What a collective with `async_op=True` returns."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from funtorch.distributed.errors import DistBackendError
from funtorch.distributed.mesh import Receipt
from funtorch.distributed.sockets import seconds
from funtorch.futures import Future


class Work:
    """A collective under way. `wait` writes what it received into the tensors, and must be called."""

    def __init__(self, made: Any = None) -> None:
        self._made = made  # what the future holds: the tensors
        self._finish: Callable[[], Any] | None = None
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def run(self, call: Callable[[], Any], finish: Callable[[], Any]) -> None:
        """Do the work, in whichever thread; `finish` runs in the thread that waits."""
        self._finish = finish
        try:
            call()
        except BaseException as error:
            self._error = error
        self._ended.set()

    def _wait(self, limit: float | None) -> None:
        if not self._ended.wait(limit):
            raise DistBackendError(f"Work.wait: not done within the timeout of {limit:g} s")

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait until it is done; raises its error."""
        self._wait(None if timeout is None else seconds(timeout))
        if self._error is not None:
            raise self._error
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()
        return True

    synchronize = wait

    def is_completed(self) -> bool:
        """Is it done? If so, its tensors have their values."""
        if not self._ended.is_set():
            return False
        if self._error is None:
            self.wait()
        return True

    def is_success(self) -> bool:
        """Is it done, without an error?"""
        return self._ended.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        """Its error."""
        return self._error

    def result(self) -> list[Any]:
        """The tensors."""
        self.wait()
        found: list[Any] = self._made
        return found

    def get_future(self) -> Future[Any]:
        """A future of the tensors. What `then` adds to it runs in the thread that waits."""
        return _Waiting(self.result)


class Receiving(Work):
    """A message that is to come."""

    def __init__(
        self, receipt: Receipt, told: tuple[str, int, int | None, float], finish: Callable[[], Any]
    ) -> None:
        super().__init__()
        self._receipt, self._told = receipt, told
        self._finish = finish

    def _wait(self, limit: float | None) -> None:
        what, own, peer, default = self._told
        self._receipt.wait(what, own, peer, default if limit is None else limit)
        self._ended.set()

    def is_completed(self) -> bool:
        """Has it come? If so, it is in its tensor."""
        return self._receipt.done() and self.wait()

    def _source_rank(self) -> int:
        found = self._receipt.source
        assert found is not None
        return found

    source_rank = _source_rank


class _Waiting(Future[Any]):
    """A future whose result is made by whoever waits for it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self._make = make

    def wait(self) -> Any:
        if not self._done:
            self._follow(self._make)
        return self.value()

    def value(self) -> Any:
        return super().value() if self._done else self.wait()

    def then(self, callback: Callable[[Future[Any]], Any]) -> Future[Any]:
        def make() -> Any:
            self.wait()
            return callback(self)

        return _Waiting(make)


class Coalesced(Work):
    """Several that are waited for together."""

    def __init__(self, works: Sequence[Work]) -> None:
        super().__init__()
        self._works = works

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait for all of them."""
        return all(work.wait(timeout) for work in self._works)

    def is_completed(self) -> bool:
        """Are all done?"""
        return all(work.is_completed() for work in self._works)


class Worker:
    """A thread that does a group's asynchronous collectives one after the other."""

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (call := self._waiting.get()) is not None:
            call()

    def submit(self, call: Callable[[], Any]) -> None:
        """Do this after what was submitted before."""
        self._waiting.put(call)

    def end(self) -> None:
        """No more will come."""
        self._waiting.put(None)
