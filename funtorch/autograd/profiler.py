"""torch.autograd.profiler: what `torch.profiler` is built on, and its older form."""

from __future__ import annotations

from typing import Any

from funtorch.profiler import session
from funtorch.profiler.events import EventList, record_function

__all__ = ["EventList", "emit_nvtx", "profile", "record_function"]


class profile(session.profile):  # noqa: N801  (PyTorch's name)
    """`torch.profiler.profile` without a schedule, which can be switched off. Options change nothing."""

    def __init__(self, enabled: bool = True, **options: Any) -> None:
        super().__init__()
        self.enabled = enabled

    def __enter__(self) -> profile:
        if self.enabled:
            self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.enabled:
            self.stop()

    @property
    def function_events(self) -> EventList | None:
        """All blocks; None before there are any."""
        return None if self._events is None else self.events()

    def table(self, *args: Any, **options: Any) -> str:
        """The blocks as text."""
        return self.events().table(*args, **options)


class emit_nvtx:  # noqa: N801  (PyTorch's name)
    """Marks every op for NVIDIA's profilers: there are no ops to mark once a program is compiled."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled = enabled

    def __enter__(self) -> emit_nvtx:
        if self.enabled:
            raise RuntimeError("emit_nvtx: ops run as one program; use jax.profiler")
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing."""
