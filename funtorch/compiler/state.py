"""What is being compiled or exported just now, so that programs may ask."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Unsupported(RuntimeError):  # noqa: N818  (PyTorch's name)
    """A call is not one graph although `fullgraph=True` asks for it."""


class _State(threading.local):
    compiling = 0
    exporting = 0
    scripting = 0
    onnx = 0


_state = _State()


@contextlib.contextmanager
def within(kind: str) -> Iterator[None]:
    """A stretch of 'compiling', 'exporting', 'scripting' or 'onnx'."""
    setattr(_state, kind, getattr(_state, kind) + 1)
    try:
        yield
    finally:
        setattr(_state, kind, getattr(_state, kind) - 1)


def is_compiling() -> bool:
    """Inside a function that `torch.compile` compiled, or under export?"""
    return bool(_state.compiling or _state.exporting)


def is_exporting() -> bool:
    """Under `torch.export.export`?"""
    return bool(_state.exporting)


def is_scripting() -> bool:
    """Inside a function that `torch.jit.script` made?"""
    return bool(_state.scripting)


def is_in_onnx_export() -> bool:
    """Being recorded by `torch.onnx.export`?"""
    return bool(_state.onnx)
