"""`profile`: listens to named blocks, all the time or by a schedule of steps."""

from __future__ import annotations

import enum
import gzip
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from funtorch.device import gpu_count
from funtorch.lowering import stats
from funtorch.profiler.events import Event, EventList, averages, listeners, record_function, shown


class ProfilerActivity(enum.Enum):
    """What to listen to. Here it is always the host, which waits for what it measures."""

    CPU = 0
    XPU = 1
    CUDA = 2


class ProfilerAction(enum.Enum):
    """What to do in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """CPU, and CUDA where there is a GPU."""
    return {ProfilerActivity.CPU} | ({ProfilerActivity.CUDA} if gpu_count() else set())


def kineto_available() -> bool:
    """Can `profile` record? Yes, though not by Kineto."""
    return True


def schedule(
    *,
    wait: int,
    warmup: int,
    active: int,
    repeat: int = 0,
    skip_first: int = 0,
    skip_first_wait: int = 0,
) -> Callable[[int], ProfilerAction]:
    """Step -> action: skip, then cycles of waiting, warming up and recording (repeat=0: for ever)."""
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError(
            f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} "
            f"(need >= 0), active={active} (need > 0), repeat={repeat} (need >= 0), "
            f"skip_first={skip_first} (need >= 0)."
        )

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        cycle = wait + warmup + active
        if repeat > 0 and step // cycle >= repeat:
            return ProfilerAction.NONE
        at = step % cycle
        if at < wait:
            return ProfilerAction.NONE
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < cycle - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


class profile:  # noqa: N801  (PyTorch's name)
    """Listen to `record_function` blocks, and with `step()` to steps.

    schedule: which steps to record; None: everything. on_trace_ready: called with the profiler when
    a cycle, or everything, has been recorded. The other arguments ask for figures that a program
    compiled as a whole does not have, and change nothing.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        acc_events: bool = False,
        use_cuda: bool | None = None,
    ) -> None:
        self.activities = set(activities) if activities is not None else supported_activities()
        self.schedule = schedule or (lambda step: ProfilerAction.RECORD)
        self.on_trace_ready = on_trace_ready
        self.acc_events = acc_events
        self.step_num = 0
        self.current_action = self.schedule(0)
        self._steps = schedule is not None
        self._events: list[Event] | None = None
        self._block: record_function | None = None
        self._before = (0, 0, 0, 0.0)
        self._done = ""
        self._metadata: dict[str, Any] = {}

    def start(self) -> None:
        """Begin to listen, if the schedule says so."""
        if self.current_action in _RECORDING:
            self._listen()
        self._open_step()

    def stop(self) -> None:
        """Stop listening."""
        self._close_step()
        if self._listening():
            self._finish()

    def step(self) -> None:
        """One step is over, the next begins."""
        self._close_step()
        previous = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        if previous is ProfilerAction.RECORD_AND_SAVE and self._listening():
            self._finish()
        if self.current_action in _RECORDING and not self._listening():
            self._listen()
        self._open_step()

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _listening(self) -> bool:
        return any(listener is self._events for listener in listeners)

    def _listen(self) -> None:
        if self._events is None or not self.acc_events:
            self._events = []
        listeners.append(self._events)
        self._before = _counters()

    def _finish(self) -> None:
        listeners[:] = [listener for listener in listeners if listener is not self._events]
        ops, runs, compiled, seconds = (
            now - then for now, then in zip(_counters(), self._before, strict=True)
        )
        self._done = (
            f"{ops} ops recorded, run as {runs} programs; {compiled} compilations, "
            f"{shown(seconds * 1e6)}"
        )
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def _open_step(self) -> None:
        if self._listening() and self._steps:
            self._block = record_function(f"ProfilerStep#{self.step_num}")
            self._block.__enter__()

    def _close_step(self) -> None:
        if self._block is not None:
            self._block.__exit__()
            self._block = None

    def _recorded(self) -> list[Event]:
        if self._events is None:
            raise AssertionError("Profiler must be initialized before getting key averages")
        return self._events

    def add_metadata(self, key: str, value: str) -> None:
        """A text that `export_chrome_trace` writes into the file too."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """The same with a value in JSON."""
        self._metadata[key] = json.loads(value)

    def events(self) -> EventList:
        """All blocks, in the order in which they ended."""
        return EventList(self._recorded())

    def key_averages(
        self,
        group_by_input_shape: bool = False,
        group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """One row per name. Raises AssertionError if nothing was started."""
        merged = [
            Event("ProfilerStep*", e.start, e.duration, e.inner, e.thread)
            if e.name.startswith("ProfilerStep#")
            else e
            for e in self._recorded()
        ]
        return EventList(averages(merged), self._done)

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the blocks as JSON for chrome://tracing or Perfetto; gzipped if it ends in .gz."""
        events = [
            {
                "ph": "X",
                "cat": "user_annotation",
                "name": event.name,
                "pid": os.getpid(),
                "tid": event.thread,
                "ts": event.start,
                "dur": event.duration,
            }
            for event in self._recorded()
        ]
        head = {"schemaVersion": 1, "displayTimeUnit": "ms", **self._metadata}
        text = json.dumps({**head, "traceEvents": events})
        if str(path).endswith(".gz"):
            with gzip.open(path, "wt") as file:
                file.write(text)
        else:
            Path(path).write_text(text)


def _counters() -> tuple[int, int, int, float]:
    return stats.recorded_ops, stats.executions, stats.compilations, stats.compile_seconds


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """An `on_trace_ready` that writes a trace file per cycle into a folder."""

    def handler(done: profile) -> None:
        folder = Path(dir_name)
        folder.mkdir(parents=True, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        ending = ".pt.trace.json.gz" if use_gzip else ".pt.trace.json"
        done.export_chrome_trace(folder / f"{worker}.{time.time_ns()}{ending}")

    return handler
