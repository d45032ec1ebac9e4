"""cuDNN stands below XLA where there is a GPU. The switches are kept; XLA chooses by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from funtorch.device import gpu_count

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


@contextlib.contextmanager
def flags(
    enabled: bool = False,
    benchmark: bool = False,
    benchmark_limit: int = 10,
    deterministic: bool = False,
    allow_tf32: bool = True,
) -> Iterator[None]:
    """Other switches for a while."""
    given = {
        "enabled": enabled,
        "benchmark": benchmark,
        "deterministic": deterministic,
        "allow_tf32": allow_tf32,
    }
    before = {name: globals()[name] for name in given}
    globals().update(given)
    try:
        yield
    finally:
        globals().update(before)


def is_available() -> bool:
    """Is there a GPU, and so a cuDNN below XLA?"""
    return gpu_count() > 0


def version() -> int | None:
    """Not known: XLA does not tell it."""
    return None
