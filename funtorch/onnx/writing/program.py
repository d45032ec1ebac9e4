"""ONNXProgram: a written model, to save, to run and to look at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from funtorch.bridge import as_tensor
from funtorch.onnx.module import as_arrays
from funtorch.onnx.writing import external
from funtorch.onnx.writing.proto import Finished
from funtorch.onnx.writing.runtimes import Runner, by_reference, runner, typed
from funtorch.tensor import Tensor

LIMIT = 2_000_000_000  # bytes that one protobuf message may have, with some room


class ONNXProgram:
    """A model as ONNX. `save(path)` writes it, calling it runs it in onnxruntime.

    model_proto: the whole as one message. model: the same as onnx_ir.Model, if that is installed.
    exported_program: the ExportedProgram it was written from, if it was.
    """

    def __init__(self, finished: Finished, exported_program: Any, arguments: Any) -> None:
        self._finished = finished
        self._arguments = arguments
        self.exported_program = exported_program
        self._runner: Runner | None = None

    @property
    def model_proto(self) -> onnx.ModelProto:
        """onnx.ModelProto with all weights inside. Raises ValueError above 2 GB: use `save`."""
        if self.nbytes > LIMIT:
            raise ValueError(
                f"the weights have {self.nbytes} bytes, more than a protobuf message may have: "
                "save(path, external_data=True) writes them to a file of their own"
            )
        return self._finished.model()

    @property
    def model(self) -> Any:
        """onnx_ir.Model. Raises ImportError where onnx_ir is not installed."""
        import onnx_ir

        return onnx_ir.from_proto(self.model_proto)

    @property
    def nbytes(self) -> int:
        """Bytes of all initialisers."""
        return sum(a.nbytes for a in self._finished.initializers.values())

    @property
    def initializers(self) -> dict[str, np.ndarray[Any, Any]]:
        """The weights by name, as they lie in memory."""
        return self._finished.initializers

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs."""
        return [v.name for v in self._finished.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the graph's outputs."""
        return [v.name for v in self._finished.outputs]

    @property
    def random(self) -> bool:
        """Does the model draw random numbers?"""
        return self._finished.random

    def apply_weights(self, state_dict: Any) -> None:
        """Other contents for initialisers of these names. Raises for a wrong shape or dtype."""
        for name, given in state_dict.items():
            own = self._finished.initializers.get(name)
            if own is None:
                continue
            array = np.asarray(given.detach() if isinstance(given, Tensor) else given)
            if array.shape != own.shape or array.dtype != own.dtype:
                raise ValueError(
                    f"{name} is {own.dtype}{list(own.shape)}, not {array.dtype}{list(array.shape)}"
                )
            self._finished.initializers[name] = array
        self._runner = None

    def save(
        self,
        destination: str | os.PathLike[str] | Any,
        *,
        include_initializers: bool = True,
        keep_initializers_as_inputs: bool = False,
        external_data: bool | None = None,
    ) -> None:
        """Write to a path or a binary file object.

        external_data: weights in `destination` + ".data" (None: only where they do not fit into one
        file). The file appears when it is complete.
        """
        is_file = hasattr(destination, "write")
        if external_data and is_file:
            raise TypeError("external_data=True needs a path, not a file object")
        apart = include_initializers and (
            external_data if external_data is not None else self.nbytes > LIMIT
        )
        if apart:
            model = self._finished.model(False, keep_initializers_as_inputs)
            external.save(model, self._finished.initializers, Path(destination))
            return
        if include_initializers and self.nbytes > LIMIT:
            raise ValueError(f"{self.nbytes} bytes of weights do not fit into one file")
        model = self._finished.model(include_initializers, keep_initializers_as_inputs)
        data = model.SerializeToString()
        if is_file:
            destination.write(data)
        else:
            external.replaced(Path(destination), lambda file: file.write(data))

    def _flat(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return as_arrays(self._arguments(args, kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """Run on tensors; the outputs as a list. Strings are arrays, sequences lists."""
        if self._runner is None:
            self._runner = runner(self)
        feeds = dict(zip(self.input_names, self._flat(args, kwargs), strict=True))
        return _as_tensors(typed(self._runner(feeds), self._finished.outputs))

    def call_reference(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """As `__call__`, but in onnx's reference evaluator."""
        feeds = dict(zip(self.input_names, self._flat(args, kwargs), strict=True))
        return _as_tensors(typed(by_reference(self)(feeds), self._finished.outputs))

    def compute_values(
        self, value_names: Sequence[str], args: Sequence[Any] = (), kwargs: Any = None
    ) -> list[Tensor]:
        """Values within the graph, by the names of nodes' outputs. Raises ValueError for others."""
        known = self._finished.values()
        for name in value_names:
            if name not in known:
                raise ValueError(
                    f"Value '{name}' not found in the model. Please provide a valid value name."
                )
        outputs = self._finished.outputs
        self._finished.outputs = [known[n] for n in value_names]
        self.release()
        try:
            return self(*args, **(kwargs or {}))
        finally:
            self._finished.outputs = outputs
            self.release()

    def rename_axes(self, rename_mapping: Mapping[Any, str]) -> None:
        """Other names for symbolic sizes, by their names or onnx_ir's SymbolicDims."""
        self._finished.axes |= {
            str(getattr(old, "value", old)): new for old, new in rename_mapping.items()
        }

    def initialize_inference_session(self, *_: Any, **__: Any) -> None:
        """Load the model into the runtime now and not at the first call."""
        self._runner = runner(self)

    def release(self) -> None:
        """Let go of the runtime's copy of the model."""
        self._runner = None

    def optimize(self) -> None:
        """Nothing is left to do: constants are folded and equal nodes made once while writing."""

    def __repr__(self) -> str:
        lines = [f"ONNXProgram(opset {self._finished.opset}, {len(self._finished.nodes)} nodes)"]
        with contextlib.suppress(ValueError):
            lines.append(onnx.printer.to_text(self._finished.model(weights=False)))
        return "\n".join(lines)


def _as_tensors(values: Any) -> Any:
    """Arrays of numbers as tensors, within lists too."""
    if isinstance(values, list):
        return [_as_tensors(v) for v in values]
    numeric = isinstance(values, np.ndarray) and values.dtype.kind not in "OUS"
    return as_tensor(values) if numeric else values
