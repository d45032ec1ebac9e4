"""An ONNX graph as a Keras layer. Its config holds the graph without the weights."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
import onnx

from funtorch.tensorflow.module import OnnxModule, Program, one_or_all

# XLA has no rule for what these become: shapes that depend on values.
_WITHOUT_XLA = {"Compress", "If", "Loop", "NonZero", "Unique"}


@keras.saving.register_keras_serializable("funtorch")
class OnnxLayer(keras.layers.Layer):
    """graph: base64 of the ModelProto, whose weights may be left out; weights: their {name: (type,
    shape)}; trainable_names: which of them train; training_graph: what is computed with training=True,
    if it is something else. Inputs and outputs as in the graph.
    """

    def __init__(
        self,
        graph: str,
        weights: Mapping[str, tuple[str, tuple[int, ...]]],
        trainable_names: list[str],
        training_graph: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **options})
        self._config = {
            "graph": graph, "weights": dict(weights), "trainable_names": list(trainable_names),
            "training_graph": training_graph,
        }  # fmt: skip
        self.program = Program(_filled(graph, weights), trainable_names)
        self.trained = self.program
        if training_graph is not None:
            self.trained = Program(_filled(training_graph, weights), trainable_names)
        steps = [*self.program.plan.steps, *self.trained.plan.steps]
        self.supports_jit = not any(s.op in _WITHOUT_XLA for s in steps)
        self._values = {
            name: self.add_weight(
                shape, "zeros", dtype, trainable=name in trainable_names,
                name=name.replace("/", "_"),
            )
            for name, (dtype, shape) in weights.items()
        }  # fmt: skip
        self.built = True

    @classmethod
    def of(cls, made: OnnxModule) -> OnnxLayer:
        """The layer of a module, with its weights."""
        values = {name: variable.numpy() for name, variable in made.weights.items()}
        layer = cls(
            _bare(made.program.proto, values),
            {n: (a.dtype.name, a.shape) for n, a in values.items()},
            [name for name, variable in made.weights.items() if variable.trainable],
            None if made.trained is made.program else _bare(made.trained.proto, values),
        )
        layer.assign(values)
        return layer

    def assign(self, values: Mapping[str, Any]) -> None:
        """Set weights by their ONNX names."""
        for name, value in values.items():
            self._values[name].assign(value)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The graph's outputs: one as it is, several as a tuple."""
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        program = self.trained if training else self.program
        outputs, news = program.run(given, {n: v.value for n, v in self._values.items()})
        self.assign(news)
        return one_or_all(outputs)

    def get_config(self) -> dict[str, Any]:
        """What from_config needs."""
        return {**super().get_config(), **self._config}


def _bare(proto: onnx.ModelProto, weights: Collection[str]) -> str:
    """base64 of a model without its weights."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    kept = [t for t in bare.graph.initializer if t.name not in weights]
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(kept)
    return base64.b64encode(bare.SerializeToString()).decode()


def _filled(graph: str, weights: Mapping[str, tuple[str, tuple[int, ...]]]) -> onnx.ModelProto:
    """The model again, with zeros for weights that it does not hold."""
    proto = onnx.load_from_string(base64.b64decode(graph))
    given = {t.name for t in proto.graph.initializer}
    for name, (dtype, shape) in weights.items():
        if name not in given:
            zeros = np.zeros(shape, np.dtype(dtype))
            proto.graph.initializer.append(onnx.numpy_helper.from_array(zeros, name))
    return proto
