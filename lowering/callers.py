"""The user's line: the innermost frame that is neither ours nor of what we stand on."""

from __future__ import annotations

import sys

_OURS = frozenset(("funtorch", "jax", "jaxlib", "functools", "contextlib", "threading", "runpy"))


def user_line() -> str:
    """'train.py:12', or '' if no line of a user's led here (a thread of ours)."""
    frame = sys._getframe(1)
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in _OURS:
            return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
