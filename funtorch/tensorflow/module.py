"""ONNX models as `tf.Module` and as a Keras layer: variables for weights, one `tf.function` to run."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import onnx
import tensorflow as tf

from funtorch.onnx.graph import Plan, Reader, host_names
from funtorch.tensorflow import rules as _rules  # fills the table
from funtorch.tensorflow.emission import RULES, Emission

del _rules
_STATISTICS = {"BatchNormalization": (3, 4)}  # inputs that no gradient should change


class Program:
    """What an ONNX model does in TensorFlow: the plan, its signature, and which values are weights.

    Weights are the floating-point initialisers of rank one and more, but for those that have to be
    known when the graph is made. trainable: names of those that train; by default all but the
    statistics of batch normalisation.
    Raises UnsupportedNodes, which names every node without a rule.
    """

    def __init__(self, proto: onnx.ModelProto, trainable: Collection[str] | None = None) -> None:
        self.proto = proto
        self.plan = Reader(proto, RULES).plan
        known = host_names(self.plan)
        constants = self.plan.constants
        self.weights = {
            name: array
            for name, array in constants.items()
            if array.dtype.kind in "fV" and array.ndim and name not in known
        }
        if trainable is None:
            trainable = self.weights.keys() - _statistics(self.plan)
        self.trainable = set(trainable) & self.weights.keys()
        inputs = [i for i in proto.graph.input if i.name not in constants]
        self.signature = [_spec(i) for i in inputs if i.type.HasField("tensor_type")]
        self.inputs = [i.name for i in inputs]
        self.outputs = list(self.plan.outputs)

    def run(self, inputs: Any, variables: dict[str, Any]) -> list[Any]:
        """The outputs, as tensors, for inputs in order and variables for the weights."""
        given = dict(zip(self.inputs, inputs, strict=True))
        return Emission(self.plan, variables).run(given)


def _statistics(plan: Plan) -> set[str]:
    return {
        step.inputs[i]
        for step in plan.steps
        for i in _STATISTICS.get(step.op, ())
        if i < len(step.inputs)
    }


def _spec(value: onnx.ValueInfoProto) -> tf.TensorSpec:
    """The type of an input; extents without a number may be anything."""
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    dtype = tf.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return tf.TensorSpec(shape, dtype, identifier(value.name))


def identifier(name: str) -> str:
    """A name that Python and TensorFlow take."""
    made = re.sub(r"\W", "_", name)
    return made if made[:1].isalpha() else f"value_{made}"


class OnnxModule(tf.Module):
    """A model whose weights are `tf.Variable`s, in `variables` and by ONNX name in `weights`.

    Call it with tensors or arrays in the graph's order, or by name. One output comes as it is,
    several as a tuple. In `tf.saved_model.save` its signature takes and gives values by name.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        trainable: Collection[str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.program = Program(proto, trainable)
        if len(self.program.signature) < len(self.program.inputs):
            raise NotImplementedError("sequences and optionals as inputs of a tf.Module")
        self.weights = {
            key: tf.Variable(array, key in self.program.trainable, name=key)
            for key, array in self.program.weights.items()
        }
        self.run = tf.function(self._run, self.program.signature, autograph=False)
        # On the instance for SavedModel, which keeps functions and not methods: it can be called.
        setattr(self, "__call__", self.run)  # noqa: B010
        self.serve = tf.function(self._serve, self.program.signature, autograph=False)

    def _run(self, *inputs: Any) -> Any:
        outputs = self.program.run(inputs, self.weights)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _serve(self, *inputs: Any) -> dict[str, Any]:
        outputs = self.program.run(inputs, self.weights)
        return {identifier(n): v for n, v in zip(self.program.outputs, outputs, strict=True)}

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The model's outputs."""
        given = dict(zip(self.program.inputs, inputs, strict=False)) | named
        if len(inputs) > len(self.program.inputs) or given.keys() != set(self.program.inputs):
            raise TypeError(f"the model takes {self.program.inputs}, but got {sorted(given)}")
        return self.run(*[given[n] for n in self.program.inputs])
