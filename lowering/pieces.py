"""Running an unknown trace in pieces, cut where module calls begin and end.

Equal pieces share one executable: twelve equal blocks compile one, and a loop over a cell compiles
one cell whatever its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from funtorch.lowering.aval import Place
from funtorch.lowering.compile import Executable, cache, compile_program
from funtorch.lowering.program import Program, Step, decode, prune
from funtorch.lowering.scope import Scope, ancestors
from funtorch.lowering.settings import settings
from funtorch.lowering.x64 import x64

if TYPE_CHECKING:
    from funtorch.lowering.record import Trace

Chain = list[Scope]


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
    env: dict[int, Any] = dict(zip(program.leaves, arrays, strict=True))
    for begin, end in cut(chains, 0, len(chains), 0):
        for first, last in _by_host(program, begin, end, trace.place):
            _run_piece(program, first, last, last_use, env, scalars, trace.place)
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
    own = scalars[step.first_scalar : step.first_scalar + len(inst.scalar_types)]
    with x64():
        return [jax.device_put(np.array(a), place) for a in inst.op.host(arrays, own, inst.statics)]


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


def _run_piece(
    program: Program,
    begin: int,
    end: int,
    last_use: dict[int, int],
    env: dict[int, Any],
    scalars: tuple[Any, ...],
    place: Place,
) -> None:
    """Execute steps begin..end, reading and writing `env`, and drop what is not read any more."""
    steps = program.steps[begin:end]
    if len(steps) == 1 and steps[0].inst.op.host is not None and place.platform == "cpu":
        env[steps[0].first_output] = _on_host(steps[0], env, scalars, place)[0]
        _drop(steps[0].inputs, end, last_use, env)
        return
    flat, leaves, made = _localised(steps)
    kept = [p for p in made if last_use.get(p, -1) >= end]
    own_scalars = tuple(
        scalars[s.first_scalar + i] for s in steps for i in range(len(s.inst.scalar_types))
    )
    outputs = tuple(made[p] for p in kept)
    executable = _executable(tuple(flat), outputs, own_scalars, place)
    results = executable([env[p] for p in leaves], own_scalars)
    env.update(zip(kept, results, strict=True))
    _drop(leaves, end, last_use, env)


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


def _executable(
    flat: tuple[int, ...], outputs: tuple[int, ...], scalars: tuple[Any, ...], place: Place
) -> Executable:
    entry = cache.entry((flat, outputs, (), place))
    reason = entry.observe(scalars)
    found = entry.ready(scalars)
    if found is None:
        plan = entry.plan
        assert plan is not None
        program = decode(flat, outputs)
        found = compile_program(program, plan, place, what="piece", reason=reason)
        entry.executable = found
    return found
