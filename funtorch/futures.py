"""torch.futures: results that are still to come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]

T = TypeVar("T")


class Future(Generic[T]):
    """A result that somebody sets later. Callbacks run in the thread that sets it."""

    def __init__(self, *, devices: Any = None) -> None:
        self._ended = threading.Condition()
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Any], Any]] = []

    def done(self) -> bool:
        """Is the result (or an error) there?"""
        return self._done

    def wait(self) -> T:
        """The result, which is waited for. Raises the error if there is one instead."""
        with self._ended:
            self._ended.wait_for(lambda: self._done)
        return self.value()

    def value(self) -> T:
        """The result. Raises RuntimeError if it is not there yet."""
        if not self._done:
            raise RuntimeError("Future: value() before the future is done; call wait()")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def then(self, callback: Callable[[Future[T]], Any]) -> Future[Any]:
        """A future of what the callback makes of this one once it is done."""
        made: Future[Any] = Future()
        self.add_done_callback(lambda done: made._follow(lambda: callback(done)))
        return made

    def _follow(self, call: Callable[[], Any]) -> None:
        try:
            result = call()
        except Exception as error:
            self.set_exception(error)
        else:
            self.set_result(result)

    def add_done_callback(self, callback: Callable[[Future[T]], Any]) -> None:
        """Call it with this future once that is done; at once if it is."""
        with self._ended:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def set_result(self, result: T) -> None:
        """Set the result. Raises RuntimeError the second time."""
        self._end(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Set an error instead of a result."""
        self._end(None, result)

    def _end(self, value: Any, error: BaseException | None) -> None:
        with self._ended:
            if self._done:
                raise RuntimeError("Future can only be set once: it is marked as done already")
            self._value, self._error, self._done = value, error, True
            callbacks, self._callbacks = self._callbacks, []
            self._ended.notify_all()
        for callback in callbacks:
            callback(self)


def collect_all(futures: list[Future[Any]]) -> Future[list[Future[Any]]]:
    """A future that is done when all of these are, and holds them."""
    made: Future[list[Future[Any]]] = Future()
    left = [len(futures)]
    lock = threading.Lock()

    def one_less(_: Any) -> None:
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last:
            made.set_result(list(futures))

    for future in futures:
        future.add_done_callback(one_less)
    if not futures:
        made.set_result([])
    return made


def wait_all(futures: Iterable[Future[Any]]) -> list[Any]:
    """The results of all."""
    return [future.wait() for future in futures]
