"""Running an unknown trace in pieces, cut where module calls begin and end.

Equal pieces share one executable: twelve equal blocks compile one, and a loop over a cell compiles
one cell whatever its length.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from funtorch.lowering.aval import Place
from funtorch.lowering.compile import Entry, Executable, cache, compile_program
from funtorch.lowering.program import Program, ScalarPlan, Step, decode, prune
from funtorch.lowering.scope import Scope, ancestors
from funtorch.lowering.settings import settings
from funtorch.lowering.x64 import x64

if TYPE_CHECKING:
    from funtorch.lowering.record import Trace

Chain = list[Scope]


class Piece(NamedTuple):
    """A stretch of a program that is compiled by itself, or one view that the host makes.

    end: where the stretch ends. leaves, made: positions that it reads, and those of its outputs
    that are read later. entry: None for the host. structure: its flat trace and wanted outputs.
    """

    end: int
    leaves: Sequence[int]
    made: tuple[int, ...]
    scalars: tuple[Any, ...]
    entry: Entry | None
    structure: tuple[Any, ...]
    reason: str


def run(
    trace: Trace, outputs: tuple[int, ...], arrays: Sequence[Any], scalars: tuple[Any, ...]
) -> list[Any]:
    """Execute a trace piece by piece; returns the arrays at `outputs`."""
    whole = decode(trace.flat, outputs)
    scope_of = {
        step.first_output: scope for step, scope in zip(whole.steps, trace.scopes, strict=True)
    }
    program = prune(whole)
    chains = [ancestors(scope_of[step.first_output]) for step in program.steps]
    last_use = _last_uses(program)
    pieces = [
        _piece(program, first, last, last_use, scalars, trace.place)
        for begin, end in cut(chains, 0, len(chains), 0)
        for first, last in _by_host(program, begin, end, trace.place)
    ]
    compiling = _start_compiling(pieces, trace.place)
    env: dict[int, Any] = dict(zip(program.leaves, arrays, strict=True))
    for piece in pieces:
        if piece.entry is None:
            results = [_on_host(program.steps[piece.end - 1], env, piece.scalars, trace.place)]
        else:
            executable = _executable(piece, piece.entry, compiling, trace.place)
            results = executable([env[p] for p in piece.leaves], piece.scalars)
        env.update(zip(piece.made, results, strict=True))
        _drop(piece.leaves, piece.end, last_use, env)
    return [env[position] for position in outputs]


def is_one_piece(trace: Trace) -> bool:
    """Would cutting leave this trace whole?"""
    outermost = {id(s): s for s in (next(iter(ancestors(o)), None) for o in trace.scopes)}
    if len(outermost) == 1 and (only := next(iter(outermost.values()))) is not None and only.whole:
        return True
    if len(trace.starts) > settings.piece_ops:
        return False
    return not _repeats([ancestors(scope) for scope in trace.scopes], 0, len(trace.scopes))


def cut(chains: list[Chain], begin: int, end: int, depth: int) -> Iterator[tuple[int, int]]:
    """Ranges of ops to run as one piece each, in order. `chains` are the scopes around each op."""
    if end - begin <= settings.piece_ops and not _repeats(chains, begin, end):
        yield begin, end
        return
    at = begin
    while at < end:
        scope = _at_depth(chains[at], depth)
        stop = at + 1
        while stop < end and _at_depth(chains[stop], depth) is scope:
            stop += 1
        if scope is not None and scope.whole:
            yield at, stop
        elif scope is not None:
            yield from cut(chains, at, stop, depth + 1)
        else:
            for first in range(at, stop, settings.piece_ops):
                yield first, min(first + settings.piece_ops, stop)
        at = stop


def _by_host(program: Program, begin: int, end: int, place: Place) -> Iterator[tuple[int, int]]:
    """Separate views at both ends, which the host can do, from what must be compiled."""

    def hostable(index: int) -> bool:
        return place.platform == "cpu" and program.steps[index].inst.op.host is not None

    while begin < end and hostable(begin):
        yield begin, begin + 1
        begin += 1
    last = end
    while last > begin and hostable(last - 1):
        last -= 1
    if begin < last:
        yield begin, last
    for index in range(last, end):
        yield index, index + 1


def _on_host(step: Step, env: dict[int, Any], scalars: tuple[Any, ...], place: Place) -> Any:
    inst = step.inst
    assert inst.op.host is not None
    arrays = [np.asarray(env[p]) for p in step.inputs]
    with x64():
        array = inst.op.host(arrays, scalars, inst.statics)[0]
        return jax.device_put(np.array(array), place)


def _at_depth(chain: Chain, depth: int) -> Scope | None:
    return chain[depth] if depth < len(chain) else None


def _repeats(chains: list[Chain], begin: int, end: int) -> bool:
    """Is one thing called twice by the same caller in here? Then each call is a piece."""
    calls: dict[tuple[int, object], Scope] = {}
    for chain in chains[begin:end]:
        for scope in chain:
            first = calls.setdefault((id(scope.parent), scope.label), scope)
            if first is not scope:
                return True
    return False


def _last_uses(program: Program) -> dict[int, int]:
    """For each position the index of the last step that reads it; wanted ones: beyond the end."""
    last: dict[int, int] = {}
    for index, step in enumerate(program.steps):
        for position in step.inputs:
            last[position] = index
    for position in program.outputs:
        last[position] = len(program.steps)
    return last


def _piece(
    program: Program,
    begin: int,
    end: int,
    last_use: dict[int, int],
    scalars: tuple[Any, ...],
    place: Place,
) -> Piece:
    """Steps begin..end as a piece; its entry has seen it."""
    steps = program.steps[begin:end]
    own = tuple(scalars[s.first_scalar + i] for s in steps for i in range(len(s.inst.scalar_types)))
    if len(steps) == 1 and steps[0].inst.op.host is not None and place.platform == "cpu":
        return Piece(end, steps[0].inputs, (steps[0].first_output,), own, None, (), "")
    flat, leaves, made = _localised(steps)
    kept = tuple(p for p in made if last_use.get(p, -1) >= end)
    key = (tuple(flat), tuple(made[p] for p in kept), (), place)
    entry = cache.entry(key)
    return Piece(end, leaves, kept, own, entry, key[:2], entry.observe(own))


def _start_compiling(pieces: Sequence[Piece], place: Place) -> dict[Entry, Future[Executable]]:
    """Compile what is missing, several at a time; the first pieces run meanwhile."""
    missing: dict[Entry, Piece] = {}
    for piece in pieces:
        if piece.entry is not None and piece.entry.ready(piece.scalars) is None:
            missing.setdefault(piece.entry, piece)
    return {
        # The plan of this moment has seen the scalars of every piece.
        entry: cache.compiling(functools.partial(_compile, piece, entry, entry.plan, place))
        for entry, piece in missing.items()
    }


def _compile(piece: Piece, entry: Entry, plan: ScalarPlan | None, place: Place) -> Executable:
    assert plan is not None
    program = decode(*piece.structure)
    found = compile_program(program, plan, place, what="piece", reason=piece.reason, brief=True)
    entry.executable = found
    return found


def _executable(
    piece: Piece, entry: Entry, compiling: dict[Entry, Future[Executable]], place: Place
) -> Executable:
    found = entry.ready(piece.scalars)
    if found is None and entry in compiling:
        found = compiling[entry].result()
    if found is None or not found.plan.fits(piece.scalars):
        # Equal pieces that differ in what is never an input (True and False), or another thread's.
        plan = None if entry.plan is None else entry.plan.widened(piece.scalars)
        found = _compile(piece, entry, plan, place)
    return found


def _drop(
    positions: Sequence[int], end: int, last_use: dict[int, int], env: dict[int, Any]
) -> None:
    """Let go of values that no later step reads."""
    for position in positions:
        if last_use[position] < end:
            env.pop(position, None)


def _localised(steps: Sequence[Step]) -> tuple[list[int], list[int], dict[int, int]]:
    """(flat trace of the steps in numbers of their own, outer leaves, outer -> own outputs)."""
    own: dict[int, int] = {}
    leaves: list[int] = []
    made: dict[int, int] = {}
    flat: list[int] = []
    for step in steps:
        flat.append(step.inst.uid)
        for position in step.inputs:
            if position not in own:
                own[position] = len(own)
                leaves.append(position)
            flat.append(own[position])
        for offset in range(len(step.inst.out_avals)):
            outer = step.first_output + offset
            made[outer] = own[outer] = len(own)
    return flat, leaves, made
