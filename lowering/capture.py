"""Tracing a function into a program, for transforms and for export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from funtorch.lowering.aval import Aval, Place
from funtorch.lowering.program import Program, decode
from funtorch.lowering.record import Trace, owner
from funtorch.lowering.scope import Scope
from funtorch.lowering.value import Value, births


class Captured(NamedTuple):
    """A function's program. Its leaves are first the placeholders, then what it closed over.

    scopes: the module call that each step was recorded in; places: where in the user's source, if
    the capture was asked to tell.
    """

    program: Program
    closed_over: list[Value]
    scalars: tuple[Any, ...]
    key: Any
    scopes: tuple[Scope | None, ...] = ()
    places: tuple[Any, ...] = ()


class capture:  # noqa: N801  (a context manager, used as a verb)
    """Record into a trace of its own that is never executed.

    with capture(place) as captured:
        inputs = [captured.placeholder(aval) for aval in avals]
        outputs = function(inputs)
    result = captured.finish(outputs)

    locate() -> where in the source the op that is being recorded stands.
    """

    def __init__(self, place: Place, locate: Callable[[], Any] | None = None) -> None:
        self.place = place
        self.locate = locate
        self.placeholders: list[Value] = []

    def __enter__(self) -> capture:
        self.state = owner()
        self.before = self.state.capture
        self.trace = Trace(self.place, self.state, functional=True)
        self.trace.locate = self.locate
        self.state.capture = self.trace
        self.outer_births, births.seen = births.seen, set()
        return self

    def __exit__(self, *exc: object) -> None:
        self.state.capture = self.before
        own, births.seen = births.seen, self.outer_births
        if births.seen is not None and own is not None:
            births.seen |= own
        self.trace.closed = True

    def made_inside(self, value: Value) -> bool:
        """Was this value made by the function that is being captured?"""
        return value.trace is self.trace or (births.seen is not None and value in births.seen)

    def placeholder(self, aval: Aval) -> Value:
        """An input of the function."""
        value = Value(aval)
        value.trace = self.trace
        value.position = self.trace.count
        self.trace.leaves[value] = value.position
        self.trace.count += 1
        self.placeholders.append(value)
        return value

    def finish(self, outputs: Sequence[Value]) -> Captured:
        """The program that computes `outputs`. Outputs from outside count as closed over."""
        trace = self.trace
        positions = tuple(v.position if v.trace is trace else trace.leaf(v) for v in outputs)
        inputs = {v: p for v, p in trace.leaves.items() if v in set(self.placeholders)}
        closed = [(v, p) for v, p in trace.leaves.items() if v not in inputs]
        decoded = decode_with_leaves(trace, positions, [*inputs.items(), *closed])
        scalars = tuple(trace.scalars)
        types = tuple(map(type, scalars))
        key = (tuple(trace.flat), decoded.leaves, positions, scalars, types, self.place)
        told = tuple(trace.scopes), tuple(trace.places)
        return Captured(decoded, [v for v, _ in closed], scalars, key, *told)


def decode_with_leaves(
    trace: Trace, outputs: tuple[int, ...], leaves: Sequence[tuple[Value, int]]
) -> Program:
    """Decode a trace some of whose leaves were numbered before any op read them."""
    program = decode(trace.flat, outputs, {p for _, p in leaves})
    return program._replace(
        leaves=tuple(p for _, p in leaves), leaf_avals=tuple(v.aval for v, _ in leaves)
    )
