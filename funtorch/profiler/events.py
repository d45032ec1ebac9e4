"""Named blocks, the times they took, and tables of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from funtorch import lowering

listeners: list[list[Event]] = []
"""Where finished blocks go: one list per profiler that records."""


@dataclass
class Event:
    """One block: its name, when it began (microseconds), and how long it took with what it holds."""

    name: str
    start: float
    duration: float
    inner: float
    thread: int

    @property
    def key(self) -> str:
        """The name."""
        return self.name


class _Stack(threading.local):
    def __init__(self) -> None:
        self.inner: list[float] = []


_stack = _Stack()


class record_function(contextlib.ContextDecorator):  # noqa: N801  (PyTorch's name)
    """Give a block a name in the profile: `with record_function("forward"): ...`"""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args

    def __enter__(self) -> record_function:
        self._listened = bool(listeners)
        if self._listened:
            lowering.flush(wait=True)
            _stack.inner.append(0.0)
            self._start = time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._listened:
            return
        lowering.flush(wait=True)
        took = (time.perf_counter() - self._start) * 1e6
        inner = _stack.inner.pop()
        if _stack.inner:
            _stack.inner[-1] += took
        made = Event(self.name, self._start * 1e6, took, inner, threading.get_ident())
        for listener in listeners:
            listener.append(made)

    def _recreate_cm(self) -> record_function:
        return record_function(self.name, self.args)


@dataclass
class Average:
    """All blocks of one name. Times in microseconds; `self_` without the blocks within."""

    key: str
    count: int = 0
    cpu_time_total: float = 0.0
    self_cpu_time_total: float = 0.0
    events: list[Event] = field(default_factory=list, repr=False)

    @property
    def cpu_time(self) -> float:
        """Mean time of one block."""
        return self.cpu_time_total / self.count if self.count else 0.0

    def add(self, event: Event) -> None:
        """Count one more."""
        self.count += 1
        self.cpu_time_total += event.duration
        self.self_cpu_time_total += event.duration - event.inner
        self.events.append(event)


class EventList(list[Any]):
    """Averages (or events), with a table of them. note: a line below the table."""

    def __init__(self, held: Iterable[Any] = (), note: str = "") -> None:
        super().__init__(held)
        self._note = note

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds in all blocks, none counted twice."""
        return float(sum(row.self_cpu_time_total for row in self))

    def key_averages(self, *args: Any, **grouping: Any) -> EventList:
        """One row per name, whatever the blocks were given."""
        return EventList(averages(self), self._note)

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
    ) -> str:
        """A table with one row per name. sort_by: an attribute of the rows, the largest first."""
        rows = list(self)
        if sort_by is not None:
            rows.sort(key=lambda row: getattr(row, sort_by), reverse=True)
        rows = rows[:row_limit] if row_limit >= 0 else rows
        whole = self.self_cpu_time_total or 1.0
        cells = [
            [
                row.key[:max_name_column_width],
                f"{100 * row.self_cpu_time_total / whole:.2f}%",
                shown(row.self_cpu_time_total),
                f"{100 * row.cpu_time_total / whole:.2f}%",
                shown(row.cpu_time_total),
                shown(row.cpu_time),
                str(row.count),
            ]
            for row in rows
        ]
        lines = [header] if header else []
        lines += _grid(_COLUMNS, cells)
        lines.append(f"Self CPU time total: {shown(self.self_cpu_time_total)}")
        return "\n".join([*lines, self._note, ""] if self._note else [*lines, ""])

    def __str__(self) -> str:
        return self.table()


_COLUMNS = (
    "Name",
    "Self CPU %",
    "Self CPU",
    "CPU total %",
    "CPU total",
    "CPU time avg",
    "# of Calls",
)


def _grid(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [
        max(12, *(len(row[i]) for row in cells), len(name)) if cells else max(12, len(name))
        for i, name in enumerate(columns)
    ]
    rule = "  ".join("-" * width for width in widths)
    text = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return [rule, "  ".join(c.rjust(w) for c, w in zip(columns, widths, strict=True)), rule, *text, rule]


def shown(microseconds: float) -> str:
    """A time with its unit."""
    for limit, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= limit:
            return f"{microseconds / limit:.3f}{unit}"
    return f"{microseconds:.3f}us"


def averages(events: Iterable[Event]) -> list[Average]:
    """One average per name, in the order in which the names came."""
    found: dict[str, Average] = {}
    for event in sorted(events, key=lambda e: e.start):
        found.setdefault(event.name, Average(event.name)).add(event)
    return list(found.values())
