"""An ONNX graph as a Keras layer. Its config holds the graph without the weights."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import onnx

from funtorch.tensorflow.module import Program

# XLA has no rule for what these become: shapes that depend on values.
_WITHOUT_XLA = {"Compress", "If", "Loop", "NonZero", "Unique"}


@keras.saving.register_keras_serializable("funtorch")
class OnnxLayer(keras.layers.Layer):
    """graph: base64 of the ModelProto, whose weights may be left out; weights: their {name: (type,
    shape)}; trainable_names: which of them train. Inputs and outputs as in the graph.
    """

    def __init__(
        self,
        graph: str,
        weights: Mapping[str, tuple[str, tuple[int, ...]]],
        trainable_names: list[str],
        **options: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **options})
        proto = onnx.load_from_string(base64.b64decode(graph))
        given = {t.name for t in proto.graph.initializer}
        for name, (dtype, shape) in weights.items():
            if name not in given:
                zeros = np.zeros(shape, np.dtype(dtype))
                proto.graph.initializer.append(onnx.numpy_helper.from_array(zeros, name))
        self._graph, self._weights, self._names = graph, dict(weights), list(trainable_names)
        self.program = Program(proto, trainable_names)
        self.supports_jit = not any(s.op in _WITHOUT_XLA for s in self.program.plan.steps)
        self._values = {
            name: self.add_weight(
                array.shape, "zeros", array.dtype.name,
                trainable=name in self.program.trainable, name=name.replace("/", "_"),
            )
            for name, array in self.program.weights.items()
        }  # fmt: skip
        self.built = True

    @classmethod
    def of(cls, program: Program) -> OnnxLayer:
        """The layer of a program; its weights are zero until they are assigned."""
        bare = onnx.ModelProto()
        bare.CopyFrom(program.proto)
        kept = [t for t in bare.graph.initializer if t.name not in program.weights]
        del bare.graph.initializer[:]
        bare.graph.initializer.extend(kept)
        graph = base64.b64encode(bare.SerializeToString()).decode()
        shapes = {n: (a.dtype.name, a.shape) for n, a in program.weights.items()}
        return cls(graph, shapes, sorted(program.trainable))

    def assign(self, values: Mapping[str, Any]) -> None:
        """Set weights by their ONNX names."""
        for name, value in values.items():
            self._values[name].assign(value)

    def call(self, inputs: Any) -> Any:
        """The graph's outputs: one as it is, several as a tuple."""
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        outputs = self.program.run(given, {n: v.value for n, v in self._values.items()})
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def get_config(self) -> dict[str, Any]:
        """What from_config needs."""
        own = {"graph": self._graph, "weights": self._weights, "trainable_names": self._names}
        return {**super().get_config(), **own}
