"""From a recording to a graph: the walk over its steps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import funtorch
from funtorch import lowering
from funtorch.dispatch import read, to_host
from funtorch.export.build import Recording
from funtorch.func.pure import Whole
from funtorch.lowering.program import Program, Step
from funtorch.lowering.scope import ancestors
from funtorch.lowering.symbolic import Nested
from funtorch.onnx.writing.graph import Graph, Origin
from funtorch.onnx.writing.lowered import settle, traced, translate
from funtorch.onnx.writing.table import RULES, Missing, NoRule, OnnxExporterError, UnsupportedOps
from funtorch.onnx.writing.values import Val
from funtorch.ops._declare import TABLE
from funtorch.tensor import wrap

_MISSING = "missing"
Translations = Mapping[str, Callable[..., Any]]


class Emitter:
    """Writes the steps of one recording. names: module id -> (path, class) for the metadata."""

    def __init__(
        self,
        g: Graph,
        recording: Recording,
        names: Mapping[int, tuple[str, str]],
        translations: Translations,
    ) -> None:
        self.g = g
        self.recording = recording
        self.names = names
        self.translations = translations
        self.missing: list[Missing] = []
        captured = recording.pure.captured
        steps = captured.program.steps
        scopes = captured.scopes or (None,) * len(steps)
        lines = captured.places or ("",) * len(steps)
        self.origins = {
            s.first_output: (scope, line)
            for s, scope, line in zip(steps, scopes, lines, strict=True)
        }

    def run(self, program: Program, leaves: Sequence[Val], scalars: Sequence[Any]) -> list[Val]:
        """Write all steps. Raises UnsupportedOps, which names every op without a rule."""
        env: dict[int, Val] = dict(zip(program.leaves, leaves, strict=True))
        for step in program.steps:
            self.g.origin = self._origin(step)
            inputs = [env[p] for p in step.inputs]
            last = step.first_scalar + len(step.inst.scalar_types)
            numbers = list(scalars[step.first_scalar : last])
            for offset, out in enumerate(self._written(step, inputs, numbers)):
                env[step.first_output + offset] = out
        if self.missing:
            raise UnsupportedOps(self.missing)
        if any(env[p].dtype.kind == "c" for p in program.outputs):
            raise OnnxExporterError(
                "ONNX has no complex outputs: return torch.view_as_real of them"
            )
        return [env[p] for p in program.outputs]

    def _written(self, step: Step, inputs: list[Val], numbers: list[Any]) -> list[Val]:
        inst = step.inst
        try:
            return self.outputs(inst, inputs, numbers)
        except NoRule as reason:
            origin = self.g.origin
            assert origin is not None
            if all(x.name != _MISSING for x in inputs):  # else it may be a mere consequence
                self.missing.append(Missing(inst.op.label, origin.path, origin.line, str(reason)))
            return [Val(self.g, _MISSING, a.dtype, a.shape) for a in inst.out_avals]

    def outputs(self, inst: Any, inputs: Sequence[Val], numbers: Sequence[Any]) -> list[Val]:
        """One op: by its own rule, or by the primitives of its lowering."""
        found = self.translations.get(inst.op.name) or RULES.get(inst.op.name)
        made: Any = NotImplemented
        avals = (*inst.in_avals, *inst.out_avals)
        plain = all(np.dtype(a.dtype).kind != "c" for a in avals)
        if found is not None and plain and not any(isinstance(n, Val) for n in numbers):
            made = self._by_rule(found, inst, inputs, numbers)
        if made is NotImplemented:
            made = self._by_lowering(inst, inputs, numbers)
        outs = [made] if isinstance(made, Val) else list(made)
        for out, aval in zip(outs, inst.out_avals, strict=True):
            settle(out, aval, inst.op.name)
        return outs

    def _by_rule(self, found: Any, inst: Any, inputs: Sequence[Val], numbers: Any) -> Any:
        self.g.inst = inst
        declared = TABLE.get(inst.op.name)
        facade = declared.facade if declared is not None and not declared.composite else None
        if isinstance(inst.statics, Nested) and isinstance(inst.statics.make, Whole):
            return found(self.g, *inst.statics.make.arguments(inputs))
        if facade is None or facade.info.op is not inst.op:
            statics = inst.statics if isinstance(inst.statics, tuple) else (inst.statics,)
            return found(self.g, *inputs, *numbers, *statics)
        signature, promote = facade.signature, facade.promote
        default, statics = (inst.statics[0], inst.statics[1:]) if promote else (None, inst.statics)
        values = signature.join(statics, inputs, numbers)
        if promote:
            signature.promote(promote, values, default)
        return found(self.g, *values)

    def _by_lowering(self, inst: Any, inputs: Sequence[Val], numbers: Sequence[Any]) -> list[Val]:
        variable = [n for n in numbers if isinstance(n, Val)]
        n = len(inputs)

        def function(*arrays: Any) -> Any:
            given = iter(arrays[n:])
            return inst(
                list(arrays[:n]), [next(given) if isinstance(x, Val) else x for x in numbers]
            )

        avals = [*inst.in_avals, *variable]
        return translate(self.g, traced(function, avals), [*inputs, *variable])

    def _origin(self, step: Step) -> Origin:
        scope, line = self.origins.get(step.first_output, (None, ""))
        paths, classes = [], []
        for each in ancestors(scope):
            label = each.label[1] if isinstance(each.label, tuple) else each.label
            path, kind = self.names.get(label, (None, each.name))
            paths.append(path if path is not None else each.name)
            classes.append(kind)
        return Origin(step.inst.op.label, paths, classes, line)


def weights_of(recording: Recording) -> list[tuple[str, Any]]:
    """(name, array) for each tensor of the recording's state, in the order of its leaves.

    Not copies: values do not change, and are kept from being donated to a later step.
    """
    found = []
    for name in recording.pure.names:
        value = read(recording.request.state[name])
        found.append((name, np.asarray(value.concrete())))
        value.pinned = True
    return found


def constants_of(recording: Recording) -> list[Any]:
    """What the function closed over, as arrays."""
    return [np.asarray(to_host(wrap(v))) for v in recording.pure.constants]


@functools.cache
def library() -> tuple[str, ...]:
    """The folders of this package: frames in them are not the user's."""
    return tuple(str(Path(m.__file__).resolve().parent) for m in (funtorch, lowering))
