"""Why a trace was not found in the cache: compared with the nearest trace known."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from funtorch.lowering.callers import user_line
from funtorch.lowering.op import instance_by_uid

if TYPE_CHECKING:
    from funtorch.lowering.record import Trace

_KEEP = 64
_known: OrderedDict[tuple[int, ...], None] = OrderedDict()
reasons: deque[str] = deque(maxlen=200)


def _words(flat: tuple[int, ...] | list[int]) -> list[int]:
    """uids of the ops of a flat trace, in order."""
    out, at = [], 0
    while at < len(flat):
        out.append(flat[at])
        at += 1 + len(instance_by_uid(flat[at]).in_avals)
    return out


def why_missed(trace: Trace, fallback: str) -> str:
    """A sentence for `explain()`: the first op in which this trace differs from its nearest kin."""
    words = tuple(_words(trace.flat))
    best, agree = None, -1
    for other in reversed(_known):
        same = sum(1 for _ in itertools.takewhile(lambda p: p[0] == p[1], zip(words, other)))
        if same > agree:
            best, agree = other, same
    _known[words] = None
    _known.move_to_end(words)
    while len(_known) > _KEEP:
        _known.popitem(last=False)
    reason = _sentence(trace, words, best, agree, fallback)
    line = user_line()
    reason = f"{reason} ({line})" if line else reason
    reasons.append(reason)
    return reason


def _same_op(one: int, other: int) -> bool:
    return instance_by_uid(one).op is instance_by_uid(other).op


def _sentence(
    trace: Trace,
    words: tuple[int, ...],
    best: tuple[int, ...] | None,
    agree: int,
    fallback: str,
) -> str:
    if best is None or (agree == 0 and not _same_op(words[0], best[0])):
        return fallback
    if agree < len(words):
        scope = trace.scopes[agree]
        where = f" in {scope.path()}" if scope is not None and scope.path() else ""
        now = repr(instance_by_uid(words[agree]))
        then = repr(instance_by_uid(best[agree])) if agree < len(best) else "the end"
        return f"op {agree}{where} is {now}, the nearest known trace has {then}"
    if len(best) > len(words):
        return f"ends after {agree} ops where the nearest known trace goes on"
    return "the same ops, but other results are wanted or other inputs can be given up"
