"""Fair timing: contenders take turns, medians count."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Step = Callable[[], object]


def medians(contenders: dict[str, Step], rounds: int, per_round: int) -> dict[str, float]:
    """Median seconds of one step of each contender; rounds are interleaved."""
    for step in contenders.values():
        for _ in range(6):
            step()
    seen: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, step in contenders.items():
            start = time.perf_counter()
            for _ in range(per_round):
                step()
            seen[name].append((time.perf_counter() - start) / per_round)
    return {name: statistics.median(times) for name, times in seen.items()}
