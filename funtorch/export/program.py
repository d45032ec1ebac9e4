"""torch.export: ExportedProgram, its graph signature, save and load."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from funtorch import fx
from funtorch.compiler.state import within
from funtorch.dispatch import to_host
from funtorch.export.artifact import Artifact, ArtifactError, read, write
from funtorch.export.build import Built, Request, axes_of, build, guesses
from funtorch.export.dims import Range
from funtorch.export.graph import drawn
from funtorch.export.graph_signature import GraphSignature, graph_signature
from funtorch.export.runtime import (
    Program,
    constants_of,
    entries_of,
    populate,
    present_state,
    state_of,
)
from funtorch.export.stored_graph import graph_from_bytes, graph_to_bytes
from funtorch.func.stateful import module_state
from funtorch.grad_mode import no_grad
from funtorch.lowering import aot
from funtorch.lowering.symbolic import ShapeError
from funtorch.nn.module import Module
from funtorch.tensor import Tensor


class ExportedProgram:
    """A module's forward as one program, with its state by name."""

    def __init__(
        self,
        program: Program,
        state: Mapping[str, Tensor],
        entries: Mapping[str, Any],
        constants: Mapping[str, Tensor],
        built: Built | None,
        example: Any = None,
    ) -> None:
        self.program = program
        self._state = dict(state)
        self._entries = dict(entries)
        self.constants = dict(constants)
        self._built = built
        self.example_inputs = example

    @property
    def graph_signature(self) -> GraphSignature:
        """Which inputs and outputs are what."""
        drawable = self._built is not None or self.program.graph is not None
        outputs = next(iter(reversed(self.graph.nodes))).args[0] if drawable else None
        return graph_signature(self.program.signature, self._entries, outputs)

    @functools.cached_property
    def graph(self) -> fx.Graph:
        """The program as an FX graph. RuntimeError if it was loaded from a file without one."""
        if self._built is None:
            return self._loaded_graph()
        return drawn(self._built.signature, self._built.recording)

    def _loaded_graph(self) -> fx.Graph:
        if self.program.graph is None:
            raise RuntimeError(
                "the file of this ExportedProgram holds no FX graph (it is an older one, or from "
                "C++): graph_text() shows its StableHLO"
            )
        try:
            return graph_from_bytes(self.program.graph)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ArtifactError(f"the graph of this program cannot be read: {error}") from error

    @functools.cached_property
    def graph_module(self) -> fx.GraphModule:
        """The graph as a module that takes parameters, buffers and inputs in order."""
        return fx.GraphModule({}, self.graph)

    @property
    def range_constraints(self) -> dict[str, Range]:
        """The range of each symbolic dimension."""
        return {n: Range(low or 0, high) for n, (low, high) in self.program.signature.dims.items()}

    @property
    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by name."""
        return {n: t for n, t in self._state.items() if self._entries[n].get("persistent", True)}

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(name, parameter)."""
        return ((n, t) for n, t in self._state.items() if self._entries[n]["role"] == "param")

    def parameters(self) -> Iterator[Tensor]:
        """The parameters."""
        return (t for _, t in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(name, buffer)."""
        return ((n, t) for n, t in self._state.items() if self._entries[n]["role"] == "buffer")

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        return (t for _, t in self.named_buffers())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Unable to call ExportedProgram directly. You should use `exported_program.module()` "
            "instead."
        )

    def module(self, check_guards: bool = True) -> Module:
        """A module that runs the program; it shares this program's parameters and buffers."""
        return ProgramModule({"forward": self.program}, self._state, self._entries, self.constants)

    def graph_text(self) -> str:
        """The program's StableHLO, to read."""
        return aot.text(self.program.exported)

    def __repr__(self) -> str:
        inputs = ", ".join(
            f"{leaf.name}: {leaf.dtype}[{', '.join(map(str, leaf.shape))}]"
            for leaf in self.program.signature.inputs
            if leaf.role == "input"
        )
        outputs = ", ".join(
            f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"
            for leaf in self.program.signature.outputs
            if leaf.role == "output"
        )
        ranges = "".join(f"\n    {r.words(n)}" for n, r in self.range_constraints.items())
        return f"ExportedProgram:\n    ({inputs}) -> ({outputs}){ranges}"

    def artifact(self, extra_files: Mapping[str, Any] | None = None) -> Artifact:
        """What `save` writes."""
        if self._built is None:
            raise RuntimeError("this ExportedProgram was loaded: copy its file instead")
        made = assembled(
            "exported_program",
            {"forward": self._built},
            self._state,
            self._entries,
            self.constants,
            dict(extra_files or {}),
        )
        made.programs["forward"].graph = graph_to_bytes(self.graph)
        return made


def assembled(
    kind: str,
    built: Mapping[str, Built],
    state: Mapping[str, Tensor],
    entries: Mapping[str, Any],
    constants: Mapping[str, Tensor],
    extra: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> Artifact:
    """An artifact of these programs and this state."""
    everything = {n: t for n, t in state.items() if "alias_of" not in entries[n]}
    arrays = {n: np.asarray(to_host(t.detach())) for n, t in everything.items()}
    arrays.update({n: np.asarray(to_host(t)) for n, t in constants.items()})
    listed = {**entries, **{n: {"role": "constant"} for n in constants}}
    return Artifact(
        kind,
        {name: b.stored(kind != "training_step") for name, b in built.items()},
        arrays,
        listed,
        dict(about or {}),
        dict(extra),
    )


class ProgramModule(Module):
    """A module whose forward is a stored program. `train()` chooses among stored modes, if any."""

    def __init__(
        self,
        programs: Mapping[str, Program],
        state: Mapping[str, Tensor],
        entries: Mapping[str, Any],
        constants: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        populate(self, {n: t for n, t in state.items() if n in entries}, entries)
        object.__setattr__(self, "_programs", dict(programs))
        object.__setattr__(self, "_constants", dict(constants))
        self.training = False

    @property
    def program(self) -> Program:
        """What `forward` runs."""
        programs: dict[str, Program] = self._programs
        return programs.get("forward") or next(iter(programs.values()))

    def state(self) -> dict[str, Tensor]:
        """Everything that the program reads beside its arguments, by name."""
        return present_state(self, self._constants)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program."""
        return self.program.call(self.state(), args, kwargs)


def export(
    mod: Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    strict: bool = False,
    preserve_module_call_signature: tuple[str, ...] = (),
    prefer_deferred_runtime_asserts_over_guards: bool = False,
) -> ExportedProgram:
    """A module's forward as one program for these arguments, with `dynamic_shapes` symbolic.

    The module is called a few times without being executed. Raises ShapeError where the program
    depends on a dynamic dimension in a way that cannot be written down.
    """
    if not isinstance(mod, Module):
        raise ValueError(f"Expected `mod` to be an instance of `torch.nn.Module`, got {type(mod)}.")
    if not isinstance(args, tuple):
        raise TypeError(
            f"Expecting `args` to be a tuple of example positional inputs, got {type(args)}."
        )
    built = build_forward(mod, args, kwargs or {}, dynamic_shapes)
    program = Program.from_built(built)
    program.signature.vjp_order = 1
    state = module_state(mod)
    example = (args, kwargs or {})
    return ExportedProgram(program, state, entries_of(mod), constants_of(built), built, example)


def build_forward(
    mod: Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic_shapes: Any = None,
    function: Callable[..., Any] | None = None,
    names: Any = (),
) -> Built:
    """The program of a module's call."""
    state = module_state(mod)
    entries = entries_of(mod)
    roles = {n: e["role"] for n, e in entries.items()}
    if not names:
        from funtorch.export.build import argument_names

        names = argument_names(mod.forward, args, kwargs)
    request = Request(function or mod, args, kwargs, state, roles, names)
    axes = axes_of(request, dynamic_shapes)
    with no_grad(), within("exporting"):
        for settled in guesses(axes, request):
            with contextlib.suppress(ShapeError):
                return build(request, settled)
        return build(request, axes)


def save(
    ep: ExportedProgram,
    f: Any,
    *,
    extra_files: Mapping[str, Any] | None = None,
    opset_version: Any = None,
    pickle_protocol: int = 2,
) -> None:
    """Write an ExportedProgram to a path or a binary file object."""
    if not isinstance(ep, ExportedProgram):
        raise TypeError(
            f"The 'ep' parameter must be an instance of 'ExportedProgram', got {type(ep)}"
        )
    write(ep.artifact(extra_files), f)


def load(
    f: Any, *, extra_files: dict[str, Any] | None = None, expected_opset_version: Any = None
) -> ExportedProgram:
    """Read what `save` wrote. Raises ArtifactError for anything else; nothing is unpickled."""
    found = read(f)
    if "forward" not in found.programs:
        raise ArtifactError(f"{f} holds no program 'forward', but {sorted(found.programs)}")
    if extra_files is not None:
        for name in extra_files:
            extra_files[name] = found.extra.get(name, b"").decode()
    program = Program.from_stored(found.programs["forward"], "forward")
    state, constants, entries = split_state(found)
    return ExportedProgram(program, state, entries, constants, None)


def split_state(found: Artifact, device: Any = None) -> tuple[Any, Any, Any]:
    """(parameters and buffers, constants, what the manifest says of the former)."""
    everything = state_of(found.arrays, found.state, device)
    entries = {n: e for n, e in found.state.items() if e["role"] != "constant"}
    state = {n: t for n, t in everything.items() if n in entries}
    return state, {n: t for n, t in everything.items() if n not in entries}, entries
