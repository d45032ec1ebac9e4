"""What the executor has done so far: counters, compilations and the reasons for them."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field


@dataclass
class Compilation:
    """One XLA compilation: what for, of how many ops, how long, and why it was needed.

    temporary: bytes of scratch memory that a run of the program takes.
    """

    what: str
    ops: int
    seconds: float
    reason: str
    temporary: int = 0


@dataclass
class Waits:
    """How often, and how long in all, a line of the user's waited for the device."""

    count: int = 0
    seconds: float = 0.0


@dataclass
class Stats:
    """Counters since start (or since `reset`)."""

    flushes: int = 0
    executions: int = 0
    compilations: int = 0
    compile_seconds: float = 0.0
    recorded_ops: int = 0
    log: deque[Compilation] = field(default_factory=lambda: deque(maxlen=1000))
    waits: defaultdict[str, Waits] = field(default_factory=lambda: defaultdict(Waits))

    def compiled(self, entry: Compilation) -> None:
        """Note one compilation."""
        with _lock:
            self.compilations += 1
            self.compile_seconds += entry.seconds
            self.log.append(entry)

    def waited(self, line: str, seconds: float) -> None:
        """Note that a line needed a value on the host that was not there yet."""
        entry = self.waits[line]
        entry.count += 1
        entry.seconds += seconds

    def reset(self) -> None:
        """Count from zero again."""
        with _lock:
            self.flushes = self.executions = self.compilations = self.recorded_ops = 0
            self.compile_seconds = 0.0
            self.log.clear()
            self.waits.clear()


_lock = threading.Lock()
stats = Stats()
