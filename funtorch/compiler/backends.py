"""Backends that are functions: they get a call as an FX graph and say how to run it.

A call is captured (`func.stateful.purify`) and drawn as `torch.export` draws it: parameters, buffers and
constants are placeholders, state that changes comes first among the results and is written back here.
While guards hold, a captured call is not captured again; a function that no guards can watch is captured
at each call, and equal programs share what the backend made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from funtorch import dtypes, fx
from funtorch.compiler.closed import Closed, OpenError
from funtorch.compiler.guarded import Guards
from funtorch.compiler.signature import call_key, refuse_shared
from funtorch.compiler.state import Unsupported, within
from funtorch.export.build import Recording, Request, guesses, recorded, signed
from funtorch.export.dims import Dim, per_axis
from funtorch.export.graph import ORDER, drawn
from funtorch.export.runtime import Program
from funtorch.func.stateful import module_state
from funtorch.grad_mode import mode, no_grad
from funtorch.lowering import Aval
from funtorch.lowering.symbolic import ShapeError
from funtorch.nn.module import Module
from funtorch.ops._draw import fresh_key
from funtorch.tensor import Tensor, wrap

LIMIT = 8  # what a backend makes for one function, as PyTorch's recompile_limit


class _Made(NamedTuple):
    """What a backend made of a graph. order: the leaves of its placeholders, among the inputs."""

    function: Callable[..., Any]
    recording: Recording
    signature: Any
    order: list[int]


class Compiled:
    """A function whose calls a backend runs."""

    def __init__(self, function: Any, backend: Any, dynamic: bool, full: bool, extra: Any) -> None:
        self.function, self.backend, self.extra = function, backend, extra
        self.dynamic, self.full = dynamic, full
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self.guards: Guards | None = None
        self.closed, self.broken = True, False
        self.calls: dict[Any, list[_Made]] = {}
        self.programs: dict[Any, _Made] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tensors: list[Tensor] = []
        made = None
        try:
            key = self._key(args, kwargs, tensors)
            made = self._known(key, tensors)
            if made is None and not self.broken:
                made = self._capture(args, kwargs)
                if self.closed and made is not None:
                    self.calls.setdefault(key, []).append(made)
        except Unsupported:
            if self.full:
                raise
        if made is None:
            return self.function(*args, **kwargs)
        return self._run(made, tensors)

    def _key(self, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        try:
            key = call_key([args, kwargs], tensors)
        except TypeError as error:
            raise Unsupported(f"{self.name}: {error}") from error
        if self.dynamic:
            key = _without_sizes(key)
        self._guard()
        flags = () if self.guards is None else self.guards.flags()
        return key, flags, mode.enabled, dtypes.get_default_dtype()

    def _guard(self) -> None:
        """Look what there is to watch, if that has changed."""
        if not self.closed or (self.guards is not None and self.guards.hold()):
            return
        self.calls.clear()
        try:
            self.guards = Guards(Closed(self.function))
        except OpenError:
            self.guards, self.closed = None, False

    def _known(self, key: Any, tensors: list[Tensor]) -> _Made | None:
        for made in self.calls.get(key, ()):
            try:
                Program(made.signature, None).check_tensors(tensors)
            except RuntimeError:
                continue
            return made
        return None

    def _state(self) -> dict[str, Tensor]:
        if self.guards is not None:
            return self.guards.state
        found: dict[str, Tensor] = {}
        for name, value in _reached(self.function).items():
            if isinstance(value, Module):
                found.update({f"{name}.{n}": t for n, t in module_state(value).items()})
            else:
                found[name] = value
        return found

    def _capture(self, args: Any, kwargs: Any) -> _Made | None:
        """The call's program, compiled by the backend; None if that was done too often already."""
        state = self._state()
        params = {n for n, t in state.items() if t._requires}
        roles = {n: "param" if n in params else "buffer" for n in state}

        def watched(*given: Any, **named: Any) -> Any:
            outs: list[Tensor] = []
            inputs: list[Tensor] = []
            call_key([given, named], inputs)
            result = self.function(*given, **named)
            call_key(result, outs)
            refuse_shared(outs, [*inputs, *state.values()])
            return result

        names = [f"args_{i}" for i in range(len(args))]
        request = Request(watched, args, kwargs, state, roles, names)
        try:
            with within("compiling"):
                recording = self._recorded(request)
        except (RuntimeError, TypeError, OpenError) as error:
            self.broken = True
            raise Unsupported(f"{self.name} is not one graph: {error}") from error
        key = (recording.pure.captured.key, tuple(state), str(recording.dims))
        found = self.programs.get(key)
        if found is None:
            if len(self.programs) >= LIMIT:
                return None
            found = self.programs[key] = self._compile(recording)
        # Constants are those of this call: a program that comes again may close over others.
        return found._replace(recording=recording)

    def _recorded(self, request: Request) -> Recording:
        if not self.dynamic:
            return recorded(request)
        tensors: list[Tensor] = []
        call_key([request.args, request.kwargs], tensors)
        auto = [{i: Dim.AUTO for i, n in enumerate(t.shape) if n > 1} for t in tensors]
        given = [per_axis(spec, t.ndim, "") for spec, t in zip(auto, tensors, strict=True)]
        for axes in guesses(given, request):
            try:
                return recorded(request, axes)
            except ShapeError:
                continue
        return recorded(request)

    def _compile(self, recording: Recording) -> _Made:
        signature = signed(recording, recording.program.output_avals())
        graph = fx.GraphModule({}, drawn(signature, recording))
        places = range(len(signature.inputs))
        order = sorted(places, key=lambda i: ORDER.index(signature.inputs[i].role))
        made = _Made(lambda *_: (), recording, signature, order)
        state = self._state()
        kept = [state[n] for n in recording.pure.names]
        tensors: list[Tensor] = []
        call_key([recording.request.args, recording.request.kwargs], tensors)
        function = self.backend(graph, self._inputs(made, kept, tensors), **self.extra)
        if not callable(function):
            raise TypeError(f"the backend returned {type(function).__name__}, which cannot be called")
        return made._replace(function=function)

    def _inputs(self, made: _Made, state: list[Tensor], tensors: list[Tensor]) -> list[Tensor]:
        pure = made.recording.pure
        place = pure.program.leaf_avals[len(state)].place
        key = [fresh_key(place)] if pure.draws else []
        everything = [*state, *key, *tensors, *map(wrap, pure.constants)]
        return [everything[i] for i in made.order]

    def _run(self, made: _Made, tensors: list[Tensor]) -> Any:
        pure, everything = made.recording.pure, self._state()
        state = [everything[n] for n in pure.names]
        outs = made.function(*self._inputs(made, state, tensors))
        outs = list(outs) if isinstance(outs, tuple | list) else [outs]
        n = len(pure.changed) + len(pure.written)  # what changes comes first
        targets = [*(state[i] for i in pure.changed), *(tensors[i] for i in pure.written)]
        with no_grad():
            for target, new in zip(targets, outs[:n], strict=True):
                target.copy_(new)
        return pure.rebuild(outs[n:])


def _without_sizes(key: Any) -> Any:
    """A call's key in which tensors differ by rank and dtype only."""
    if isinstance(key, tuple):
        return tuple(map(_without_sizes, key))
    return (len(key.shape), key.dtype, key.place) if isinstance(key, Aval) else key


def _reached(function: Any) -> Mapping[str, Any]:
    """Modules and tensors that a function names: itself, its object, its closure, its globals."""
    owner = getattr(function, "__self__", function)
    if isinstance(owner, Module):
        return {"self": owner}
    plain = inspect.unwrap(function)
    if not inspect.isfunction(plain):
        return {}
    seen = inspect.getclosurevars(plain)
    named = {**seen.globals, **seen.nonlocals}
    return {n: v for n, v in named.items() if isinstance(v, Module | Tensor)}
