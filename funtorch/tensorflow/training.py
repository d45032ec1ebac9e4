"""Keras models in training: a second graph beside the one of evaluation, with the new statistics.

Keras' own stateless call gives it: weights are its inputs, their new values its outputs.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import onnx
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from funtorch.grad_mode import no_grad
from funtorch.onnx.module import OnnxModule
from funtorch.onnx.writing.training import STATE
from funtorch.tensorflow.conversion import converted, output_names, quiet
from funtorch.tensorflow.exchange import compare, random_inputs
from funtorch.tensorflow.modes import settle


class Step(NamedTuple):
    """Keras' call in training: a concrete function of (values of the variables, *inputs)."""

    fn: Any
    variables: list[Any]
    outputs: list[str]


class KerasModule(OnnxModule):
    """An imported model; in training it computes the graph `training` and takes over what that changes."""

    def __init__(
        self, proto: onnx.ModelProto, training: onnx.ModelProto, trainable: set[str]
    ) -> None:
        super().__init__(proto, trainable)
        said = {p.key: p.value for p in training.metadata_props}
        self._updates: dict[str, str] = json.loads(said.get(STATE, "{}"))
        other = OnnxModule(training, trainable)
        for name in other._places.keys() & self._places.keys():
            other._places[name] = self._places[name]
        self._other = (other,)  # no submodule: its weights are this one's

    def compare(self, step: Step, signature: Sequence[Any]) -> None:
        """Raises ValueError unless a step of Keras' gives the same. Statistics stay as they are."""
        (other,) = self._other
        arrays, tensors = random_inputs(signature)
        theirs = tf.nest.flatten(step.fn([v.value for v in step.variables], *tensors))
        found = dict(zip(step.outputs, theirs, strict=True))
        with no_grad():
            ours = other.run(arrays, {})
        compare(other.output_names, [found[n] for n in other.output_names], ours)

    def run(self, inputs: Any, named: dict[str, Any]) -> list[Any]:
        """The graph's outputs, as a list."""
        if not self.training:
            return super().run(inputs, named)
        (other,) = self._other
        made = dict(zip(other.output_names, other.run(inputs, named), strict=True))
        with no_grad():
            for name, output in self._updates.items():
                self.initializer(name).copy_(made[output])
        return [made[name] for name in self.output_names]


def with_training(
    module: OnnxModule,
    proto: onnx.ModelProto,
    model: keras.Model,
    signature: Sequence[Any],
    names: dict[int, str],
    check: bool,
) -> OnnxModule:
    """The module of `proto` with what Keras does in training, if that is something else.

    names: those of the weights, by the identity of their variables' handles.
    """
    try:
        traced = {mode: _traced(model, signature, mode) for mode in (True, False)}
        if _ops(traced[True]) == _ops(traced[False]):
            return module
        training, step = _graph(traced[True], model, names)
        made = KerasModule(proto, training, {n for n, _ in module.named_parameters()})
    except Exception as error:
        warnings.warn(
            f"what {model.name} does in training was not imported, so train() makes no difference: "
            f"{type(error).__name__}: {error}",
            stacklevel=3,
        )
        return module
    if check and not any(n.op_type.startswith("Random") for n in training.graph.node):
        made.compare(step, signature)
    return made.eval()


def _changing(model: keras.Model) -> list[int]:
    """Which of the variables that do not train may change: not the seeds."""
    return [i for i, v in enumerate(model.non_trainable_variables) if v.dtype.startswith("float")]


def _traced(model: keras.Model, signature: Sequence[Any], training: bool) -> Any:
    """(values of the variables, *inputs) -> (outputs, those that change), as a concrete function."""
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    count, changing = len(model.trainable_variables), _changing(model)

    def call(values: Any, *inputs: Any) -> Any:
        outputs, news = model.stateless_call(
            values[:count], values[count:], *inputs, training=training
        )
        return outputs, [tf.identity(news[i]) for i in changing]

    specs = [tf.TensorSpec(v.shape, v.dtype) for v in variables]
    return tf.function(call, autograph=False).get_concrete_function(specs, *signature)


def _ops(fn: Any) -> list[str]:
    """What a function computes, in any order."""
    graph = fn.graph.as_graph_def()
    bodies = [f.node_def for f in graph.library.function]
    return sorted(node.op for nodes in (graph.node, *bodies) for node in nodes)


def _graph(fn: Any, model: keras.Model, names: dict[int, str]) -> tuple[onnx.ModelProto, Step]:
    """The graph of training, and what it is from."""
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    count = len(model.trainable_variables)
    with quiet():
        called = [names[id(v.value.handle)].replace("/", ".") for v in variables]
        own, inputs = fn.inputs[: len(variables)], fn.inputs[len(variables) :]
        weights = {
            t.name: pair for t, pair in zip(own, zip(called, variables, strict=True), strict=True)
        }
        state = {called[count + i]: f"next_{i}" for i in _changing(model)}
        results = fn.structured_outputs[0]
        wanted = output_names(results, len(fn.outputs) - len(state))
        frozen = convert_variables_to_constants_v2(fn, lower_control_flow=False)  # and inlined
        outputs = dict(
            zip((o.name for o in frozen.outputs), [*wanted, *state.values()], strict=True)
        )
        proto = converted(frozen.graph.as_graph_def(), [i.name for i in inputs], weights, outputs)
    settle(proto, state)
    return proto, Step(fn, variables, list(outputs.values()))
