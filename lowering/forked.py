"""A forked child must not run XLA.

Neither XLA's threads nor the state of its locks survive `fork`: a child that executes hangs or
aborts, and so does one that makes itself a new CPU client (tried with jax 0.10.2: abseil's locks
find the parent's waiters). So such a child says `forbid()` first and gets an exception instead.
"""

from __future__ import annotations


class ForkedError(RuntimeError):
    """XLA was needed in a forked process."""


class _State:
    forbidden = False


_state = _State()


def forbid() -> None:
    """From now on, refuse to execute in this process."""
    _state.forbidden = True


def check() -> None:
    """Raise if this process must not execute."""
    if _state.forbidden:
        raise ForkedError("a tensor was computed in a forked process, where XLA cannot run")
