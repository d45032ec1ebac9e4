"""ONNX's own backend tests there and back: each model is loaded, written again, and run by others.

python -m benchmarks.onnx_closure [pattern] prints what fails, and a table per suite: how many models
pass in onnx's reference evaluator, and in onnxruntime, after funtorch has loaded and written them.
Inputs that decide shapes (the target of a Reshape) cannot stay inputs of a captured program: such
models are written with their integer inputs, or with all but the first, as constants, and counted
apart. `in onnxruntime` counts the models that onnxruntime passes as they are; `again`, those of them
that it passes as written here.
"""

from __future__ import annotations

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

    def forward(self, *args: Any) -> Any:
        """The model on its constants, and these arguments for the rest."""
        given = list(self.inputs)
        for i, value in zip(self.free, args, strict=True):
            given[i] = value
        outputs = self.module.run(given, {})
        return [torch.as_tensor(x) if isinstance(x, np.ndarray) else x for x in outputs]


def by_reference(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """onnx's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model).run(None, dict(feeds)))


def by_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """onnxruntime, as it comes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = {i.name for i in session.get_inputs()}
    return list(session.run(None, {n: a for n, a in feeds.items() if n in wanted}))


class Again(BackendRep):
    """A model that is loaded, and written again for the inputs it is given."""

    fixed = False  # did the last run need its integer inputs as constants?
    run_by: Run = staticmethod(by_reference)

    def __init__(self, model: onnx.ModelProto) -> None:
        opsets = {o.domain: o.version for o in model.opset_import}
        self.opset = min(max(opsets.get("", 20), 20), 26)
        self.module = OnnxModule(model).eval()

    def run(self, inputs: Any, **kwargs: Any) -> list[Array]:
        """The outputs of what was written."""
        if not all(isinstance(x, np.ndarray | np.generic) for x in inputs):
            raise NotImplementedError("only tensors can be inputs of a captured program")
        arrays = [np.asarray(x) for x in inputs]
        model, free = self.written(arrays)
        names = [self.module.input_names[i] for i in free]
        return Again.run_by(model, {n: arrays[i] for n, i in zip(names, free, strict=True)})

    def written(self, arrays: Sequence[Array]) -> tuple[onnx.ModelProto, list[int]]:
        """(the model, which of the inputs are its inputs): as many as can be."""
        everything = list(range(len(arrays)))
        floating = [i for i in everything if arrays[i].dtype.kind not in "iub"]
        for free in (everything, floating, everything[:1]):
            Again.fixed = free != everything
            try:
                return self._exported(arrays, free), free
            except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
                reason = error
        raise reason

    def _exported(self, arrays: Sequence[Array], free: Sequence[int]) -> onnx.ModelProto:
        args = tuple(torch.from_numpy(np.array(arrays[i])) for i in free)
        program = torch.onnx.export(
            Fixed(self.module, arrays, free),
            args,
            input_names=[self.module.input_names[i] for i in free],
            output_names=self.module.output_names,
            opset_version=self.opset,
            verify=False,
        )
        return program.model_proto


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
    counts = {suite: [0, 0, 0, 0, 0] for suite in SUITES.values()}
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
            row[1] += not why
            row[2] += not why and Again.fixed
            if why:
                print(f"{suite}: {name}: {why[:160]}", flush=True)
            if not failure(originals[name]):
                row[3] += 1
                Again.run_by = staticmethod(by_onnxruntime)
                other = failure(test)
                row[4] += not other
                if other and not why:
                    print(f"{suite}: {name}: in onnxruntime: {other[:160]}", flush=True)
    print("\n| suite | models | pass again | of these with constants | in onnxruntime | again |")
    print("| --- | --- | --- | --- | --- | --- |")
    for suite, (total, *rest) in counts.items():
        if total:
            print(f"| {suite} | {total} | {' | '.join(map(str, rest))} |")
    print(f"\n{time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
