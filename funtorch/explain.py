"""`funtorch.explain()`: what was compiled, why, how long it took, and which lines wait."""

from __future__ import annotations

from collections import Counter

from funtorch.lowering import stats


def _waits(limit: int) -> list[str]:
    """Lines of the program that wait for values, the longest waits first."""
    longest = sorted(stats.waits.items(), key=lambda item: -item[1].seconds)[:limit]
    if not longest:
        return []
    return [
        "waits for values on the host:",
        *(f"  {w.seconds:7.3f} s  {line or 'a thread'}, {w.count} times" for line, w in longest),
    ]


class Explanation(str):
    """A text that shows itself, not its quotes, at the prompt."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def explain(limit: int = 20) -> Explanation:
    """A report on execution so far: the `limit` longest compilations with their reasons, and the
    lines of the program that waited for values on the host (item(), numpy(), print, bool)."""
    lines = [
        f"{stats.recorded_ops} ops recorded, flushed {stats.flushes} times, run as "
        f"{stats.executions} programs",
        f"{stats.compilations} compilations, {stats.compile_seconds:.2f} s in all",
    ]
    longest = sorted(stats.log, key=lambda c: -c.seconds)[:limit]
    for entry in longest:
        why = f" because: {entry.reason}" if entry.reason else ""
        lines.append(f"  {entry.seconds:7.3f} s  {entry.what} of {entry.ops} ops{why}")
    hidden = len(stats.log) - len(longest)
    if hidden > 0:
        kinds = Counter(c.what for c in stats.log)
        counted = ", ".join(f"{n} of a {what}" for what, n in kinds.items())
        lines.append(f"  ... and {hidden} shorter ones ({counted} altogether)")
    lines.extend(_waits(limit))
    return Explanation("\n".join(lines))
