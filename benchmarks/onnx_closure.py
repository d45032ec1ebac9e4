"""ONNX's own backend tests there and back: each model is loaded, written again, and run by others.

python -m benchmarks.onnx_closure [pattern] prints what fails, and a table per suite: how many models
pass in onnx's reference evaluator, and in onnxruntime, after funtorch has loaded and written them.
Sequences of tensors are written as their tensors. Inputs that decide shapes (the target of a Reshape)
cannot stay inputs of a captured program: such models are written with their integer inputs, or with all
but the first, as constants, and counted apart. What cannot be captured then either (strings, windows,
shapes of outputs that depend on values) `torch.onnx.export` writes by the model's own nodes, counted
apart too; and where the evaluator is wrong about those nodes (Loops that collect numbers), with all inputs
as constants. `in onnxruntime` counts the models that onnxruntime passes as they are, or called opset 26
where they are newer, which is the last it reads; `again`, those of them that it passes as written here.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

import funtorch as torch
from benchmarks.onnx_suite import SUITES, cases, failure
from funtorch.onnx.module import OnnxModule

Array = np.ndarray[Any, Any]
Run = Callable[[onnx.ModelProto, Mapping[str, Array]], list[Array]]


class Fixed(torch.nn.Module):
    """A model some of whose inputs are constants."""

    def __init__(self, module: OnnxModule, inputs: Sequence[Any], free: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self.inputs = list(inputs)
        self.free = list(free)
        self.made: list[Any] = []  # the outputs of the last call

    def forward(self, *args: Any) -> Any:
        """The model on its constants, and these arguments for the rest."""
        given = list(self.inputs)
        for i, value in zip(self.free, args, strict=True):
            given[i] = value
        self.made = [as_tensors(x) for x in self.module.run(given, {})]
        return self.made


def as_tensors(value: Any) -> Any:
    """Arrays, also those in sequences, as tensors."""
    if isinstance(value, list):
        return [as_tensors(x) for x in value]
    return torch.as_tensor(np.array(value)) if isinstance(value, np.ndarray | np.generic) else value


def flat(values: Any) -> list[Any]:
    """What sequences hold, and what is none."""
    return [x for v in values for x in (flat(v) if isinstance(v, list) else [v])]


def grouped(like: Sequence[Any], values: Any) -> list[Any]:
    """Flat values in sequences as they were."""
    return [grouped(x, values) if isinstance(x, list) else next(values) for x in like]


def by_reference(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """onnx's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model).run(None, dict(feeds)))


def by_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """onnxruntime, as it comes. It reads opsets up to 26: newer models are called so."""
    import onnxruntime

    known = onnx.ModelProto()
    known.CopyFrom(model)
    known.ir_version = min(known.ir_version, 13)
    for imported in known.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = min(imported.version, 26)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        known.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = {i.name for i in session.get_inputs()}
    return list(session.run(None, {n: a for n, a in feeds.items() if n in wanted}))


class Again(BackendRep):
    """A model that is loaded, and written again for the inputs it is given."""

    way = 0  # of the last model: captured as it is, with constants, own nodes, all inputs constants
    frozen = (
        False  # write what cannot be captured with all inputs as constants, not by its own nodes?
    )
    run_by: Run = staticmethod(by_reference)

    def __init__(self, model: onnx.ModelProto) -> None:
        opsets = {o.domain: o.version for o in model.opset_import}
        self.opset = min(max(opsets.get("", 20), 20), 26)
        self.module = OnnxModule(model).eval()

    def run(self, inputs: Any, **kwargs: Any) -> list[Any]:
        """The outputs of what was written."""
        given = [as_array(x) for x in inputs]
        everything = [i for i, x in enumerate(given) if x is not None]
        floating = [i for i in everything if kind(given[i]) not in "iub"]
        some = [free for free in (floating, everything[:1]) if free]
        for free in (everything, *some):
            Again.way = int(free != everything)
            with contextlib.suppress(RuntimeError, TypeError, ValueError, NotImplementedError):
                return self._again(given, free)
        Again.way = 2 + Again.frozen
        if Again.frozen:
            return self._again(given, [])
        program = torch.onnx.export(self.module, tuple(given), verify=False)
        feeds = zip(self.module.input_names, given, strict=False)
        return Again.run_by(program.model_proto, {n: a for n, a in feeds if a is not None})

    def _again(self, given: Sequence[Any], free: Sequence[int]) -> list[Any]:
        fixed = Fixed(self.module, given, free)
        values = flat([given[i] for i in free])
        names = [f"x{i}" for i in range(len(values))]
        program = torch.onnx.export(
            fixed,
            tuple(as_tensors(given[i]) for i in free),
            input_names=names,
            opset_version=self.opset,
            verify=False,
        )
        found = Again.run_by(program.model_proto, dict(zip(names, values, strict=True)))
        return grouped(fixed.made, iter(found))


def as_array(value: Any) -> Any:
    """An input as arrays."""
    if isinstance(value, list):
        return [as_array(x) for x in value]
    return None if value is None else np.asarray(value)


def kind(value: Any) -> str:
    """The kind of an array, or of what a sequence holds."""
    values = flat([value])
    return str(values[0].dtype.kind) if values else "f"


class Original(BackendRep):
    """The model as it is, in onnxruntime."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    def run(self, inputs: Any, **kwargs: Any) -> list[Array]:
        """The outputs."""
        names = [i.name for i in self.model.graph.input]
        return by_onnxruntime(self.model, dict(zip(names, inputs, strict=False)))


class OriginalBackend(Backend):
    """The backend to compare with."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Original:
        """Keep the model."""
        return Original(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """'CPU'."""
        return device == "CPU"


class AgainBackend(Backend):
    """The backend that `onnx.backend.test` asks."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Again:
        """Load the model."""
        return Again(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """'CPU'."""
        return device == "CPU"


def main() -> None:
    """Run everything, or what matches a pattern."""
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    counts = {suite: [0] * 7 for suite in SUITES.values()}
    begun = time.time()
    with tempfile.TemporaryDirectory() as home, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["ONNX_HOME"] = home
        originals = {name: test for _, name, test in cases(OriginalBackend)}
        for suite, name, test in cases(AgainBackend):
            if not pattern.search(name):
                continue
            row = counts[suite]
            row[0] += 1
            Again.run_by = staticmethod(by_reference)
            why = failure(test)
            if why and Again.way == 2:
                Again.frozen = True
                why = failure(test)
            row[1] += not why
            if not why and Again.way:
                row[1 + Again.way] += 1
            if why:
                print(f"{suite}: {name}: {why[:160]}", flush=True)
            Again.frozen = False
            if not failure(originals[name]):
                row[5] += 1
                Again.run_by = staticmethod(by_onnxruntime)
                other = failure(test)
                row[6] += not other
                if other and not why:
                    print(f"{suite}: {name}: in onnxruntime: {other[:160]}", flush=True)
    print(
        "\n| suite | models | pass again | with constants | own nodes | constants only "
        "| in onnxruntime | again |"
    )
    print("| --- " * 8 + "|")
    for suite, (total, *rest) in counts.items():
        if total:
            print(f"| {suite} | {total} | {' | '.join(map(str, rest))} |")
    print(f"\n{time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
