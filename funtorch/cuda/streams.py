"""Streams and events of GPUs. XLA runs one stream per device, in order; so there is one here."""

from __future__ import annotations

import contextlib
import time
from typing import Any, NoReturn

from funtorch import lowering


class Stream:
    """The one stream of a device: everything runs in the order in which it was recorded."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = device

    def synchronize(self) -> None:
        """Wait until everything recorded so far has run."""
        lowering.flush(wait=True)

    def wait_stream(self, stream: Stream) -> None:
        """Nothing to wait for: the order of the program is kept."""

    def wait_event(self, event: Event) -> None:
        """Nothing to wait for: the order of the program is kept."""

    def record_event(self, event: Event | None = None) -> Event:
        """Record an event now."""
        event = event or Event()
        event.record(self)
        return event


class Event:
    """A moment in a stream. With enable_timing, recording waits for the device, to read a clock."""

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        self.enable_timing = enable_timing
        self._at: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Mark the moment."""
        lowering.flush(wait=self.enable_timing)
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """Wait until the event has happened."""
        lowering.flush(wait=True)

    def wait(self, stream: Stream | None = None) -> None:
        """Nothing to wait for: the order of the program is kept."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another."""
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self._at is None or end_event._at is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return (end_event._at - self._at) * 1e3


_only = Stream()


def current_stream(device: Any = None) -> Stream:
    """The one stream."""
    return _only


def default_stream(device: Any = None) -> Stream:
    """The one stream."""
    return _only


class StreamContext(contextlib.nullcontext[Any]):
    """Record on a stream: there is only one."""

    def __init__(self, stream: Stream | None) -> None:
        super().__init__()
        self.stream = stream


def stream(stream: Stream | None) -> StreamContext:
    """Record on a stream: there is only one."""
    return StreamContext(stream)


def set_stream(stream: Stream | None) -> None:
    """Record on a stream from now on: there is only one."""


class CUDAGraph:
    """Kernels recorded once and started together. XLA makes such graphs itself.

    There is no other way to make one: RuntimeError, as where PyTorch was built without CUDA.
    """

    def __new__(cls, *args: Any, **options: Any) -> NoReturn:
        raise RuntimeError("CUDAGraph cannot be made by hand: XLA captures CUDA graphs by itself")


class graph(CUDAGraph):  # noqa: N801  (PyTorch's name)
    """The context in which kernels are recorded into a CUDAGraph: RuntimeError, as for those."""


def is_current_stream_capturing() -> bool:
    """Is a CUDAGraph being recorded? Never."""
    return False
