"""ONNX plans run with TensorFlow's ops: the table of rules, and the `ctx` that they see.

Inside `tf.function` the walk makes a graph. What is known while the graph is made (constants, shapes, and
what follows from them) stays a NumPy array, so that a dynamic batch costs ops only where it matters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import tensor_util

from funtorch.onnx.graph import Plan
from funtorch.onnx.rules import Table
from funtorch.onnx.walk import SMALL, Walk

RULES = Table("TensorFlow's side of funtorch")
rule = RULES.rule
Host = np.ndarray[Any, Any]


class Emission(Walk):
    """One run of a plan. weights: {ONNX name: tf.Variable or constant} of its initialisers."""

    def __init__(self, plan: Plan, weights: dict[str, Any]) -> None:
        super().__init__()
        self._main = plan
        self._weights = weights
        self.quantised: dict[str, Any] = {}  # name of an output of QuantizeLinear: its input

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """The outputs for inputs by name, as tensors."""
        given = {name: self.made(value) for name, value in inputs.items()}
        outputs = self.plan(self._main, {**self.constants(self._main), **given})
        return [self.tensor(v) for v in outputs]

    def constants(self, plan: Plan) -> dict[str, Any]:
        """Arrays as they are; in the main graph, weights instead of those that became weights."""
        given = self._weights if plan is self._main else {}
        return {**plan.constants, **given}

    def tensor(self, value: Any) -> Any:
        """The value as a tf.Tensor."""
        if isinstance(value, tf.Variable):
            return tf.convert_to_tensor(value)
        return tf.constant(value) if isinstance(value, np.ndarray | np.generic) else value

    def host(self, value: Any) -> Any:
        """The value as an array. Raises NotImplementedError if it depends on the inputs."""
        if value is None or isinstance(value, np.ndarray):
            return value
        found = tf.get_static_value(value)
        if found is None:
            raise NotImplementedError(
                f"{self.where()}: an input has to be known when the graph is made"
            )
        return np.asarray(found)

    def dtype_of(self, tensor: Any) -> np.dtype[Any]:
        """The NumPy type of a tensor."""
        return np.dtype(tensor.dtype.as_numpy_dtype)

    def kind(self, element: int) -> tf.DType:
        """TensorFlow's type for an ONNX element type."""
        name = self.dtype(element)
        try:
            return tf.as_dtype(name)
        except TypeError:
            raise NotImplementedError(f"{self.where()}: TensorFlow has no {name}") from None

    def lives_on_host(self, array: Host) -> bool:
        """tf.Tensors can have any type of ONNX's that NumPy has."""
        return False

    def made(self, value: Any) -> Any:
        """A result; small integers that are known by now become arrays."""
        if not tf.is_tensor(value) or not value.dtype.is_integer or value.shape.rank is None:
            return value
        if value.shape.rank > 1 or not value.shape.is_fully_defined() or value.shape.num_elements() > SMALL:
            return value
        found = tf.get_static_value(value)
        return value if found is None else np.asarray(found)


def extents(x: Any) -> list[Any]:
    """The shape of x: integers where known, scalar int64 tensors elsewhere."""
    known = x.shape.as_list()
    if None not in known:
        return known  # type: ignore[no-any-return]
    measured = tf.shape(x, out_type=tf.int64)
    return [measured[i] if n is None else n for i, n in enumerate(known)]


def as_shape(value: Any) -> list[int | None]:
    """What is known of a shape given as a vector: None for each extent that is not, and for -1."""
    if isinstance(value, np.ndarray):
        return [None if n < 0 else int(n) for n in value]
    return tensor_util.constant_value_as_shape(value).as_list()  # type: ignore[no-any-return]
