"""The recorder: ops are appended to a trace instead of being executed.

Each thread has one open trace per device. A trace is a flat list of integers (see `program`), so its
key is ready when it ends and costs no walk of a graph. Outputs are held weakly: what Python no longer
reaches when the trace is flushed is never materialised.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from funtorch.lowering import execute
from funtorch.lowering.aval import META, Aval, Place
from funtorch.lowering.op import Instance
from funtorch.lowering.scope import Scope
from funtorch.lowering.settings import settings
from funtorch.lowering.stats import stats
from funtorch.lowering.value import Value


class Block(NamedTuple):
    """Steps that are recorded at one go, as they were before.

    steps: uid of the instance, where its inputs come from, how many outputs it has. An input is
    the output of this number, counted over the block, or, if negative, `~number` of the inputs of
    the block. outputs: numbers and avals of those that are wanted.
    """

    steps: tuple[tuple[int, tuple[int, ...], int], ...]
    outputs: tuple[tuple[int, Aval], ...]


watchers: list[Callable[[Trace], None]] = []
"""Who wants to see each trace before it is executed."""


class Trace:
    """Ops recorded and not yet executed, on one device by one thread.

    A *functional* trace stands for a function under transformation: its leaves are placeholders,
    it is never executed by itself, and reading a value of it is an error.
    """

    __slots__ = (
        "closed",
        "count",
        "error",
        "flat",
        "functional",
        "leaves",
        "locate",
        "lock",
        "origins",
        "outer",
        "outs",
        "owner",
        "place",
        "places",
        "scalars",
        "scopes",
        "starts",
        "written",
    )

    def __init__(self, place: Place, owner: _Owner, *, functional: bool = False) -> None:
        self.place = place
        self.owner = owner
        self.functional = functional
        self.outer: Trace | None = owner.capture if functional else None
        self.flat: list[int] = []
        self.starts: list[int] = []  # where each op begins in `flat`
        self.scopes: list[Scope | None] = []
        self.scalars: list[Any] = []
        self.leaves: dict[Value, int] = {}
        # What the facade knows of values from outside that a functional trace reads.
        self.origins: dict[Value, Any] = {}
        self.outs: list[tuple[int, weakref.ref[Value]]] = []
        # Storages written in place, with what they held: kept by a functional trace that asks.
        self.written: dict[Any, Any] | None = None
        # Where in the source each op stands, if somebody wants to know.
        self.locate: Callable[[], Any] | None = None
        self.places: list[Any] = []
        self.count = 0
        self.lock = threading.RLock()
        self.closed = False
        self.error: BaseException | None = None

    def admit(self, value: Value) -> None:
        """Make sure that a value from elsewhere may be a leaf here."""
        origin = value.trace
        if origin is None:
            if value.array is None:
                value.concrete()  # raises, saying why there is no data
            return
        if origin.functional:
            outer = self.outer
            while outer is not None and outer is not origin:
                outer = outer.outer
            if outer is None:
                raise RuntimeError(
                    f"a tensor {value.aval!r} made inside a function under transformation "
                    "(func.grad, func.vmap, ...) was used after that function returned; "
                    "return it from the function instead"
                )
        elif not self.functional:
            value.concrete()

    def leaf(self, value: Value) -> int:
        """Position of a value that this trace did not make."""
        position = self.leaves.get(value)
        if position is None:
            position = self.leaves[value] = self.count
            self.count += 1
        return position

    def append(
        self, inst: Instance, inputs: Sequence[Value], scalars: Sequence[Any]
    ) -> list[Value]:
        """Record one op; returns its pending outputs."""
        flat = self.flat
        self.starts.append(len(flat))
        self.scopes.append(self.owner.scope)
        if self.locate is not None:
            self.places.append(self.locate())
        flat.append(inst.uid)
        for value in inputs:
            flat.append(value.position if value.trace is self else self.leaf(value))
        if scalars:
            self.scalars.extend(scalars)
        made = []
        for aval in inst.out_avals:
            made.append(self.output(self.count, aval))
            self.count += 1
        return made

    def output(self, position: int, aval: Aval) -> Value:
        """A pending value for what is computed at this position."""
        value = Value(aval)
        value.trace = self
        value.position = position
        self.outs.append((position, weakref.ref(value)))
        return value

    def append_block(
        self, block: Block, inputs: Sequence[Value], scopes: Sequence[Scope | None]
    ) -> list[Value]:
        """Record the steps of a block; returns its outputs."""
        flat, starts = self.flat, self.starts
        inner: list[int] = []
        for uid, sources, n_outs in block.steps:
            starts.append(len(flat))
            flat.append(uid)
            for source in sources:
                if source >= 0:
                    flat.append(inner[source])
                else:
                    value = inputs[~source]
                    flat.append(value.position if value.trace is self else self.leaf(value))
            for position in range(self.count, self.count + n_outs):
                inner.append(position)
            self.count += n_outs
        self.scopes.extend(scopes)
        return [self.output(inner[index], aval) for index, aval in block.outputs]

    def flush_for(self, value: Value) -> None:
        """Execute this trace because `value`, one of its outputs, is wanted."""
        if self.functional:
            raise RuntimeError(
                "the value of a tensor was asked for inside a function under transformation "
                "(func.grad, func.vmap, func.jvp, ...): .item(), bool(), printing, numpy() and "
                "shapes that depend on data are not possible there"
            )
        self.flush()
        if value.array is None:
            raise self.error or RuntimeError("the program that was to compute this value failed")

    def flush(self) -> None:
        """Execute everything recorded here, asynchronously."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            if self.owner.traces.get(self.place) is self:
                del self.owner.traces[self.place]
            if not self.flat:
                return
            stats.flushes += 1
            stats.recorded_ops += len(self.starts)
            for watch in watchers:
                watch(self)
            try:
                execute.execute(self)
            except BaseException as error:
                self.error = error
                raise


class _ThreadState(threading.local):
    """What a thread is recording: one trace per device, or a function under transformation."""

    def __init__(self) -> None:
        self.state = _Owner()


class _Owner:
    """The part of a thread's state that a trace keeps hold of, whoever flushes it."""

    __slots__ = ("capture", "scope", "traces")

    def __init__(self) -> None:
        self.traces: dict[Place, Trace] = {}
        self.capture: Trace | None = None
        self.scope: Scope | None = None


_local = _ThreadState()


def owner() -> _Owner:
    """This thread's recording state."""
    return _local.state


def record(
    inst: Instance, inputs: Sequence[Value], scalars: Sequence[Any], place: Place
) -> list[Value]:
    """Record one op instance on this thread's trace; returns its outputs."""
    if place is META:
        return [Value(aval) for aval in inst.out_avals]
    while True:
        trace = _open_trace(inputs, place)
        with trace.lock:
            if trace.closed:  # another thread wanted one of our values just now
                continue
            made = trace.append(inst, inputs, scalars)
        break
    if not trace.functional and (settings.mode == "eager" or len(trace.starts) >= settings.max_ops):
        trace.flush()
    return made


def record_block(
    block: Block,
    inputs: Sequence[Value],
    scalars: Sequence[Any],
    scopes: Sequence[Scope | None],
    place: Place,
) -> list[Value]:
    """Record the steps of a block, each in its scope; returns the block's outputs."""
    while True:
        trace = _open_trace(inputs, place)
        with trace.lock:
            if trace.closed:
                continue
            trace.scalars.extend(scalars)
            made = trace.append_block(block, inputs, scopes)
        break
    if not trace.functional and len(trace.starts) >= settings.max_ops:
        trace.flush()
    return made


def _open_trace(inputs: Sequence[Value], place: Place) -> Trace:
    """The trace that this thread records into, all of whose inputs it may read."""
    state = _local.state
    trace = state.capture or state.traces.get(place)
    if trace is None:
        trace = state.traces[place] = Trace(place, state)
    for value in inputs:
        if value.array is None and value.trace is not trace:
            trace.admit(value)
    return trace


def flush(*, wait: bool = False) -> None:
    """Execute what this thread has recorded, on every device. A barrier.

    Asynchronous unless `wait`. Inside a function under transformation it does nothing.
    """
    state = _local.state
    if state.capture is not None:
        return
    for trace in list(state.traces.values()):
        outs = [ref() for _, ref in trace.outs] if wait else []
        trace.flush()
        for value in outs:
            if value is not None and value.array is not None:
                value.array.block_until_ready()
