"""Calls that skip Python: a compiled function's program, run again as long as its guards hold.

Recording a call costs some microseconds for each op; a call of a function that is closed (see `closed`)
need not be recorded again: without gradients it runs at once, with gradients see `taped`. Guarded are
the arguments' types and shapes, every attribute of every module, the names that the code reads, hooks,
and the modes that the recorder obeys. Whatever is not captured, or no longer fits, goes the usual way.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funtorch import anomaly, dtypes, overrides, saving
from funtorch.compiler import taped
from funtorch.compiler.closed import Closed, OpenError, contents
from funtorch.compiler.signature import call_key, refuse_shared
from funtorch.compiler.state import within
from funtorch.device import default_device
from funtorch.dispatch import read
from funtorch.func.stateful import Pure, module_state, plain_state, purify
from funtorch.grad_mode import mode as grad_mode
from funtorch.lowering import Value, constant, settings
from funtorch.lowering.compile import Executable, compile_program
from funtorch.lowering.program import ScalarPlan
from funtorch.lowering.record import owner
from funtorch.nn.module import GLOBAL_HOOKS
from funtorch.ops._declare import autocast_hook
from funtorch.tensor import Tensor, wrap

LIMIT = 8  # programs of one function, as PyTorch's recompile_limit
_TABLES = (
    "_modules", "_parameters", "_buffers",
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip
MISSED = object()


class Guards:
    """What a closed function reads besides its arguments, as it was."""

    def __init__(self, closed: Closed) -> None:
        own = [m.__dict__ for m in closed.modules.values()]
        self.tables = [*GLOBAL_HOOKS.values(), *own, *(d[t] for d in own for t in _TABLES)]
        self.entries = self._now()
        self.names = closed.names
        self.containers = [(c, contents(c)) for c in closed.containers]
        state: dict[str, Tensor] = {}
        for i, module in enumerate(closed.modules.values()):
            state.update({f"{i}.{n}": t for n, t in module_state(module).items()})
        self.state = state

    def _now(self) -> list[Any]:
        return list(itertools.chain.from_iterable(map(dict.values, self.tables)))

    def flags(self) -> tuple[bool, ...]:
        """Which of the state requires a gradient."""
        return tuple([t._requires for t in self.state.values()])

    def hold(self) -> bool:
        """Is everything as it was?"""
        now = self._now()
        return (
            len(now) == len(self.entries)
            and all(map(operator.is_, now, self.entries))
            and all(space.get(name) is value for space, name, value in self.names)
            and all(_same(contents(c), then) for c, then in self.containers)
        )


def _same(now: tuple[Any, ...], then: tuple[Any, ...]) -> bool:
    return len(now) == len(then) and all(map(operator.is_, now, then))


class _Ready(NamedTuple):
    """A program with the state that it reads, and what its outputs are like."""

    executable: Executable
    state: list[Tensor]
    avals: list[Any]
    key: Any  # of random numbers: there are none
    constants: list[Any]
    outs: list[tuple[Any, Any]]  # avals and strides
    pure: Pure


class Guarded:
    """Programs of one function by the signature of its call."""

    def __init__(self, function: Callable[..., Any], label: tuple[Any, str]) -> None:
        self.function, self.label = function, label
        self.guards: Guards | None = None
        self.programs: dict[Any, _Ready | taped.Joint | None] = {}
        self.closed = True
        self.epoch = epoch[0]

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function's result, or MISSED where it must be called as usual."""
        if (
            not self.closed
            or grad_mode.inference
            or anomaly.state.enabled
            or autocast_hook[0] is not None
            or saving.hooks
            or overrides.state.modes
            or owner().capture is not None
            or settings.mode not in ("auto", "whole")
        ):
            return MISSED
        tensors: list[Tensor] = []
        try:
            key = (dtypes.get_default_dtype(), default_device(), call_key([args, kwargs], tensors))
        except TypeError:
            return MISSED
        if self.epoch != epoch[0] or (self.guards is not None and not self.guards.hold()):
            self.epoch, self.guards = epoch[0], None
            self.programs.clear()
        if self.guards is None and not self._guard():
            return MISSED
        if grad_mode.enabled:
            key = (*key, self.guards.flags())  # type: ignore[union-attr]
        if key not in self.programs:
            self._make(key, args, kwargs)
        ready = self.programs.get(key)
        if ready is None:
            return MISSED
        if type(ready) is _Ready:
            return _run(ready, tensors)
        fits, result = taped.run(ready, args, kwargs, tensors)
        return result if fits else MISSED

    def _guard(self) -> bool:
        """Find out what to watch; False if that cannot be known."""
        try:
            self.guards = Guards(Closed(self.function))
        except OpenError:
            self.closed = False
        return self.closed

    def _make(self, key: Any, args: Any, kwargs: Any) -> None:
        """Capture and compile, or note that this call cannot be."""
        if len(self.programs) >= LIMIT:
            return
        self.programs[key] = None
        try:
            ready = self._ready(args, kwargs, self.guards)  # type: ignore[arg-type]
        except OpenError:
            self.closed = False
            return
        except Exception:  # the usual way says what is wrong, if it is
            return
        self.programs[key] = ready

    def _ready(self, args: Any, kwargs: Any, guards: Guards) -> _Ready | taped.Joint | None:
        if not grad_mode.enabled:
            return _captured(self.function, args, kwargs, guards, self.label[1])
        made = taped.captured(self.function, args, kwargs, guards.state, self.label)
        return made if guards.hold() else None


# Programs made before this changed are not used any more (`torch.compiler.reset`).
epoch = [0]


def _captured(
    function: Callable[..., Any], args: Any, kwargs: Any, guards: Guards, name: str
) -> _Ready | None:
    outs: list[Tensor] = []

    def watched(*given: Any, **named: Any) -> Any:
        inputs: list[Tensor] = []
        call_key([given, named], inputs)
        result = function(*given, **named)
        call_key(result, outs)
        refuse_shared(outs, [*inputs, *guards.state.values()])
        return result

    with within("compiling"):
        pure = purify(watched, args, kwargs, guards.state, gradient=False)
    if pure.changed or pure.written or pure.draws or not outs or not guards.hold():
        return None
    program, scalars = pure.program, tuple(pure.captured.scalars)
    place = program.leaf_avals[0].place
    plan = ScalarPlan(scalars, frozenset())
    executable = compile_program(program, plan, place, (), f"compiled {name}")
    kept, _ = plain_state(guards.state)
    state = [kept[n] for n in pure.names]
    return _Ready(
        executable,
        state,
        [read(t).aval for t in state],
        constant(np.zeros(2, np.uint32), place).concrete(),
        [v.concrete() for v in pure.constants],
        list(zip(program.output_avals(), [t._stride for t in outs], strict=True)),
        pure,
    )


def _run(ready: _Ready, tensors: list[Tensor]) -> Any:
    state = [read(t) for t in ready.state]
    if any(v.aval is not aval for v, aval in zip(state, ready.avals, strict=True)):
        return MISSED
    arrays = [v.concrete() for v in state]
    arrays.append(ready.key)
    arrays += [read(t).concrete() for t in tensors]
    made = ready.executable([*arrays, *ready.constants], ())
    outs = [
        wrap(Value(aval, array), stride)
        for (aval, stride), array in zip(ready.outs, made, strict=True)
    ]
    return ready.pure.rebuild(outs)


__all__ = ["MISSED", "Guarded", "Guards", "epoch"]
