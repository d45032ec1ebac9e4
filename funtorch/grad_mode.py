"""Whether operations are taped: no_grad, enable_grad, inference_mode, set_grad_enabled."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any


class _Mode(threading.local):
    """captured: a function is being captured whose gradient JAX will take; there is no tape then, so
    what has no gradient (`no_grad`, `detach`) has to be recorded as that."""

    enabled: bool = True
    inference: bool = False
    captured: bool = False


mode = _Mode()


@contextlib.contextmanager
def capturing(gradient: bool = True) -> Iterator[None]:
    """A function is captured. gradient: JAX may differentiate what it does from here on."""
    before = mode.enabled, mode.inference, mode.captured
    if gradient:
        mode.enabled, mode.inference = True, False
    mode.captured = gradient
    try:
        yield
    finally:
        mode.enabled, mode.inference, mode.captured = before


def is_grad_enabled() -> bool:
    """Are operations taped in this thread?"""
    return mode.enabled


def is_inference_mode_enabled() -> bool:
    """Is inference mode on in this thread?"""
    return mode.inference


class _Switch:
    """Context manager and decorator that sets the mode and puts it back. Re-enterable."""

    _enabled: bool

    def __init__(self) -> None:
        self._before: list[tuple[bool, bool]] = []

    def __enter__(self) -> Any:
        self._before.append((mode.enabled, mode.inference))
        mode.enabled = self._enabled
        return self

    def __exit__(self, *exc: object) -> None:
        mode.enabled, mode.inference = self._before.pop()

    def _fresh(self) -> _Switch:
        return type(self)()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return self._around_generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._fresh():
                return function(*args, **kwargs)

        return wrapped

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            sent = None
            while True:
                try:
                    with self._fresh():
                        item = generator.send(sent)
                except StopIteration as stop:
                    return stop.value
                sent = yield item

        return wrapped


class no_grad(_Switch):  # noqa: N801
    """Within it, nothing is taped."""

    _enabled = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        made = object.__new__(cls)
        if function is None:
            return made
        made.__init__()  # type: ignore[misc]
        return made(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        super().__init__()


class enable_grad(no_grad):  # noqa: N801
    """Within it, operations are taped, also inside `no_grad`."""

    _enabled = True


class inference_mode(_Switch):  # noqa: N801
    """Like `no_grad`; tensors made within it are inference tensors."""

    _enabled = False

    def __new__(cls, mode: Any = True) -> Any:
        made = object.__new__(cls)
        if isinstance(mode, bool):
            return made
        made.__init__()  # type: ignore[misc]
        return made(mode)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self._on = bool(mode) if isinstance(mode, bool) else True

    def _fresh(self) -> _Switch:
        return inference_mode(self._on)

    def __enter__(self) -> Any:
        self._before.append((mode.enabled, mode.inference))
        if self._on:
            mode.enabled, mode.inference = False, True
        return self


class set_grad_enabled(_Switch):  # noqa: N801
    """Sets taping on or off: at once when called, and until the end when used in `with`."""

    def __init__(self, mode_on: bool) -> None:
        super().__init__()
        self._enabled = bool(mode_on)
        self._outer = (mode.enabled, mode.inference)
        mode.enabled = self._enabled

    def __enter__(self) -> Any:
        self._before.append(self._outer)
        mode.enabled = self._enabled
        return self

    def _fresh(self) -> _Switch:
        return set_grad_enabled(self._enabled)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # As a decorator it must not leave the mode changed that its construction set.
        mode.enabled = self._outer[0]
        return super().__call__(function)
