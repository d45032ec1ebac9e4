"""What random ops may do inside `func.vmap`: the randomness that the caller asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class _State(threading.local):
    randomness: str | None = None  # None: not inside vmap


state = _State()


@contextlib.contextmanager
def randomness_within(kind: str) -> Iterator[None]:
    """Random ops within follow `kind`: 'error', 'different' or 'same'."""
    before, state.randomness = state.randomness, kind
    try:
        yield
    finally:
        state.randomness = before
