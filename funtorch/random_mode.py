"""What random ops may do inside `func.vmap`: the randomness that the caller asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any


class _State(threading.local):
    randomness: str | None = None  # None: not inside vmap
    key: Any = None  # inside vmap(randomness='different'): this entry's key, a tensor
    draws: int = 0  # how many draws that key has named


state = _State()


@contextlib.contextmanager
def randomness_within(kind: str, key: Any = None) -> Iterator[None]:
    """Random ops within follow `kind`: 'error', 'different' (they then use `key`) or 'same'."""
    before = state.randomness, state.key, state.draws
    state.randomness, state.key, state.draws = kind, key, 0
    try:
        yield
    finally:
        state.randomness, state.key, state.draws = before
