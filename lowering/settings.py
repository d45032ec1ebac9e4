"""Switches of the executor, read once from the environment and changeable at run time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

MODES = ("auto", "eager", "pieces", "whole")


@dataclass
class Settings:
    """mode: 'auto' (pieces first, the whole step once it repeats), 'eager' (each op at once),
    'pieces' (never the whole), 'whole' (always, from the first time).

    patience: seconds that a flush waits for a whole-step compilation before it goes on in pieces.
    piece_ops: ops that a piece has at most, unless a single scope cannot be cut further.
    max_ops: a trace of this many ops is flushed without anyone asking.
    """

    mode: str = "auto"
    patience: float = 1.0
    piece_ops: int = 24
    max_ops: int = 20_000


def _from_environment() -> Settings:
    mode = os.environ.get("FUNTORCH_MODE", "auto")
    if os.environ.get("FUNTORCH_EAGER", "0") not in ("", "0"):
        mode = "eager"
    if mode not in MODES:
        raise ValueError(f"FUNTORCH_MODE={mode!r}: expected one of {', '.join(MODES)}")
    patience = float(os.environ.get("FUNTORCH_PATIENCE", "1.0"))
    return Settings(mode=mode, patience=patience)


settings = _from_environment()


@contextlib.contextmanager
def execution_mode(mode: str) -> Iterator[None]:
    """Within this context, traces execute in `mode` (one of MODES)."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
    before, settings.mode = settings.mode, mode
    try:
        yield
    finally:
        settings.mode = before
