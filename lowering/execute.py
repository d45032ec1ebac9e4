"""Execution of a flushed trace: as one program if it is known, in pieces if it is new.

A trace seen for the first time is cut at module calls and runs piece by piece (`pieces`), because
pieces compile quickly and are shared. Seen a second time, it is compiled whole, in the background
if that takes long; from then on it is one call. Traces that keep changing stay in pieces (`Cache`).
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from concurrent.futures import TimeoutError as StillCompiling
from typing import TYPE_CHECKING, Any

import jax
from funtorch.lowering import pieces
from funtorch.lowering.aval import Aval
from funtorch.lowering.compile import Entry, Executable, cache, compile_program
from funtorch.lowering.misses import why_missed
from funtorch.lowering.program import Program, decode
from funtorch.lowering.settings import settings
from funtorch.lowering.value import Value

if TYPE_CHECKING:
    from funtorch.lowering.record import Trace


class OutOfMemoryError(RuntimeError):
    """The device could not hold what a program asked for."""


def execute(trace: Trace) -> None:
    """Run a closed trace; its living outputs become concrete (asynchronously)."""
    live = [(position, value) for position, ref in trace.outs if (value := ref()) is not None]
    avals = [value.aval for value in trace.leaves]
    arrays, donatable = _take_leaves(trace)
    if not live:
        return
    outputs = tuple([position for position, _ in live])
    donated = _useful_donations(avals, donatable, [value.aval for _, value in live])
    key = (tuple(trace.flat), outputs, donated, trace.place)
    scalars = tuple(trace.scalars)
    entry = cache.entry(key)
    known = entry.seen > 0
    reason = entry.observe(scalars)
    executable = entry.ready(scalars)
    if executable is None:
        if not known:
            reason = why_missed(trace, reason)
        executable = _compile_if_due(trace, entry, outputs, donated, scalars, reason)
    try:
        if executable is not None:
            results = executable(arrays, scalars)
            cache.earn()
        else:
            results = pieces.run(trace, outputs, arrays, scalars)
    except jax.errors.JaxRuntimeError as error:
        raise _explained(error) from error
    _deliver(live, arrays, results)


def _take_leaves(trace: Trace) -> tuple[list[Any], list[bool]]:
    """Arrays of the leaves, and which of them nobody will miss once this trace has run."""
    arrays = [value.array for value in trace.leaves]
    refs = [weakref.ref(value) for value in trace.leaves]
    pinned = [value.pinned for value in trace.leaves]
    trace.leaves.clear()  # after this only the outside world keeps the leaves alive
    return arrays, [ref() is None and not pin for ref, pin in zip(refs, pinned, strict=True)]


def _useful_donations(
    avals: Sequence[Aval], donatable: Sequence[bool], wanted: Sequence[Aval]
) -> tuple[int, ...]:
    """Donatable leaves whose buffers some output can take over."""
    if True not in donatable:
        return ()
    room: dict[Aval, int] = {}
    for aval in wanted:
        room[aval] = room.get(aval, 0) + 1
    chosen = []
    for i, free in enumerate(donatable):
        if free and room.get(avals[i], 0):
            room[avals[i]] -= 1
            chosen.append(i)
    return tuple(chosen)


def _compile_if_due(
    trace: Trace,
    entry: Entry,
    outputs: tuple[int, ...],
    donated: tuple[int, ...],
    scalars: tuple[Any, ...],
    reason: str,
) -> Executable | None:
    """The whole trace compiled, if its time has come and it is ready; None means: in pieces."""
    mode = settings.mode
    if mode == "pieces":
        return None
    plan = entry.plan
    assert plan is not None

    def work() -> Executable:
        program: Program = decode(flat, outputs)
        return compile_program(program, plan, place, donated, "whole trace", reason)

    flat, place = list(trace.flat), trace.place
    if mode in ("eager", "whole") or pieces.is_one_piece(trace):
        entry.executable = work()
        return entry.executable
    if entry.seen < 2:
        return None
    if entry.pending is None:
        if not cache.grants(entry):
            return None
        entry.pending = cache.background(work)
    try:
        entry.pending.result(settings.patience)
    except StillCompiling:
        return None
    return entry.ready(scalars)


def _deliver(live: Sequence[tuple[int, Value]], arrays: Sequence[Any], results: Any) -> None:
    given = {id(array) for array in arrays}
    for (_, value), array in zip(live, results, strict=True):
        # XLA may hand a leaf through unchanged; then two values share one buffer.
        value.pinned = id(array) in given
        value.array = array
        value.trace = None


def _explained(error: BaseException) -> BaseException:
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and "out of memory" not in text.lower():
        return error
    held = sorted(jax.live_arrays(), key=lambda a: -a.nbytes)
    total = sum(a.nbytes for a in held)
    top = ", ".join(f"{a.dtype}{list(a.shape)}: {a.nbytes / 2**20:.0f} MiB" for a in held[:5])
    asked = text.strip().split("\n", 1)[0].rstrip(".")
    largest = f"; the largest: {top}" if top else ""
    return OutOfMemoryError(
        f"out of memory: {asked}. Living arrays hold {total / 2**20:.0f} MiB in all{largest}. "
        "Smaller batches, funtorch.utils.checkpoint, or del of what is not needed any more would "
        "help."
    )
