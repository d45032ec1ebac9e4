"""ONNX models as `tf.Module` and as a Keras layer: variables for weights, one `tf.function` to run."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

import onnx
import tensorflow as tf

from funtorch.onnx.graph import Plan, Reader, host_names
from funtorch.onnx.writing.training import STATE
from funtorch.tensorflow import rules as _rules  # fills the table
from funtorch.tensorflow.emission import RULES, Emission

del _rules
_STATISTICS = {"BatchNormalization": (3, 4)}  # inputs that no gradient should change


class Program:
    """What an ONNX model does in TensorFlow: the plan, its signature, and which values are weights.

    Weights are the floating-point initialisers of rank one and more, those that train, and those that
    the model changes, but for those that have to be known when the graph is made. trainable: names of
    those that train; by default all but the statistics of batch normalisation. updates: {weight: the
    output that is its next value}, as the model's metadata has it.
    Raises UnsupportedNodes, which names every node without a rule.
    """

    def __init__(self, proto: onnx.ModelProto, trainable: Collection[str] | None = None) -> None:
        self.proto = proto
        self.plan = Reader(proto, RULES).plan
        said = {p.key: p.value for p in proto.metadata_props}
        self.updates: dict[str, str] = json.loads(said.get(STATE, "{}"))
        constants = self.plan.constants
        known = host_names(self.plan)
        floats = {n for n, a in constants.items() if a.dtype.kind in "fV"}
        ranked = {n for n in floats if constants[n].ndim}
        if trainable is None:
            trainable = ranked - _statistics(self.plan) - self.updates.keys()
        self.trainable = floats & set(trainable) - known
        varying = ranked | self.trainable | self.updates.keys()
        self.weights = {n: a for n, a in constants.items() if n in varying and n not in known}
        inputs = [i for i in proto.graph.input if i.name not in constants]
        self.signature = [_spec(i) for i in inputs if i.type.HasField("tensor_type")]
        self.inputs = [i.name for i in inputs]
        self.outputs = [n for n in self.plan.outputs if n not in self.updates.values()]

    def run(self, inputs: Any, variables: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The outputs, and new values of weights by name, as tensors. inputs: in order."""
        given = dict(zip(self.inputs, inputs, strict=True))
        made = Emission(self.plan, variables).run(given)
        by_name = dict(zip(self.plan.outputs, made, strict=True))
        news = {name: by_name[output] for name, output in self.updates.items()}
        return [by_name[name] for name in self.outputs], news


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

    Call it with tensors or arrays in the graph's order, or by name; with `training=True` it computes
    the graph `training`, if it was given one, and takes over the weights' new values. One output comes
    as it is, several as a tuple. In `tf.saved_model.save` its signature takes and gives values by name.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        trainable: Collection[str] | None = None,
        name: str | None = None,
        *,
        training: onnx.ModelProto | None = None,
    ) -> None:
        super().__init__(name)
        self.program = Program(proto, trainable)
        self.trained = Program(training, trainable) if training else self.program
        if len(self.program.signature) < len(self.program.inputs):
            raise NotImplementedError("sequences and optionals as inputs of a tf.Module")
        self.weights = {
            key: tf.Variable(
                array, key in self.program.trainable | self.trained.trainable, name=key
            )
            for key, array in (self.program.weights | self.trained.weights).items()
        }
        signature = self.program.signature
        self.run = tf.function(self._run, signature, autograph=False)
        # On the instance for SavedModel, which keeps functions and not methods: it can be called.
        setattr(self, "__call__", self.run)  # noqa: B010
        self.serve = tf.function(self._serve, signature, autograph=False)
        self.run_training = self.run
        if training:
            self.run_training = tf.function(self._run_training, signature, autograph=False)

    def _computed(self, program: Program, inputs: Any) -> list[Any]:
        outputs, news = program.run(inputs, self.weights)
        for name, value in news.items():
            self.weights[name].assign(value)
        return outputs

    def _run(self, *inputs: Any) -> Any:
        return one_or_all(self._computed(self.program, inputs))

    def _run_training(self, *inputs: Any) -> Any:
        return one_or_all(self._computed(self.trained, inputs))

    def _serve(self, *inputs: Any) -> dict[str, Any]:
        outputs = self._computed(self.program, inputs)
        return {identifier(n): v for n, v in zip(self.program.outputs, outputs, strict=True)}

    def __call__(self, *inputs: Any, training: bool = False, **named: Any) -> Any:
        """The model's outputs."""
        given = dict(zip(self.program.inputs, inputs, strict=False)) | named
        if len(inputs) > len(self.program.inputs) or given.keys() != set(self.program.inputs):
            raise TypeError(f"the model takes {self.program.inputs}, but got {sorted(given)}")
        run = self.run_training if training else self.run
        return run(*[given[n] for n in self.program.inputs])


def one_or_all(outputs: list[Any]) -> Any:
    """One output as it is, several as a tuple."""
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
