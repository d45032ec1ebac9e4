"""TensorFlow as a backend of ONNX: `prepare(model).run(inputs)`, as users of onnx-tf know it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx.backend.base import Backend, BackendRep, Device, namedtupledict

from funtorch.tensorflow.module import OnnxModule, Program


class TensorFlowRep(BackendRep):
    """A prepared model, run eagerly: inputs that decide shapes need not be constants then."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.program = Program(model)

    @cached_property
    def module(self) -> OnnxModule:
        """The model as a `tf.Module`."""
        return OnnxModule(self.program.proto)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """NumPy arrays out for arrays in: a sequence in the graph's order, or a dict by name."""
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        if isinstance(inputs, dict):
            inputs = [inputs[name] for name in self.program.inputs]
        outputs, _ = self.program.run([as_tensors(v) for v in inputs], {})
        return namedtupledict("Outputs", self.program.outputs)(*[as_arrays(v) for v in outputs])


def as_tensors(value: Any) -> Any:
    """Arrays as tensors, within lists too."""
    if isinstance(value, list):
        return [as_tensors(v) for v in value]
    return None if value is None else tf.constant(value)


def as_arrays(value: Any) -> Any:
    """Tensors as arrays, within lists too."""
    if isinstance(value, list):
        return [as_arrays(v) for v in value]
    return value.numpy() if tf.is_tensor(value) else value


class TensorFlowBackend(Backend):
    """The interface that `onnx.backend.test` and other tools expect. It runs on the CPU."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> TensorFlowRep:
        """Check the model and make it a module."""
        super().prepare(model, device, **kwargs)
        return TensorFlowRep(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """'CPU'."""
        return Device(device).type == 0


prepare = TensorFlowBackend.prepare
supports_device = TensorFlowBackend.supports_device
