"""Serving by the program that funtorch itself runs: StableHLO within a SavedModel, through jax2tf."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from funtorch.export import export
from funtorch.lowering import aot
from funtorch.lowering.x64 import x64
from funtorch.nn.module import Module
from funtorch.tensorflow.module import identifier


class Served(tf.Module):
    """An exported program as a `tf.Module` to be saved. It has no gradients; weights are variables.

    Raises ImportError where JAX no longer ships jax2tf. Calling it raises InvalidArgumentError where
    JAX writes newer StableHLO than TensorFlow reads (of JAX 0.10's ops, TensorFlow 2.21 lacks erf).
    """

    def __init__(self, model: Module, args: Any, dynamic_shapes: Any) -> None:
        from jax.experimental import jax2tf

        super().__init__(type(model).__name__)
        exported = export(model, args, dynamic_shapes=dynamic_shapes)
        signature = exported.program.signature
        state = {**exported.state_dict, **dict(exported.named_buffers()), **exported.constants}
        self._inputs = signature.inputs
        self._outputs = [leaf.name for leaf in signature.outputs if leaf.role == "output"]
        self.weights = {
            leaf.target: tf.Variable(state[leaf.target].detach().numpy(), False, name=leaf.target)
            for leaf in signature.inputs
            if leaf.role != "input"
        }
        self._call = jax2tf.convert(
            lambda *arrays: list(aot.call(exported.program.exported, arrays)),
            polymorphic_shapes=[_text(leaf.shape) for leaf in signature.inputs],
            with_gradient=False,
        )
        specs = [
            tf.TensorSpec(
                [n if isinstance(n, int) else None for n in leaf.shape], leaf.dtype,
                identifier(leaf.name),
            )
            for leaf in signature.inputs
            if leaf.role == "input"
        ]  # fmt: skip
        self.serve = tf.function(self._serve, input_signature=specs, autograph=False)

    def _serve(self, *inputs: Any) -> dict[str, Any]:
        given = iter(inputs)
        values = [
            next(given) if leaf.role == "input" else self.weights[leaf.target]
            for leaf in self._inputs
        ]
        with x64():
            outputs = self._call(*values)
        return dict(zip(map(identifier, self._outputs), outputs, strict=False))


def _text(shape: Any) -> str:
    """A shape as JAX writes it: numbers and expressions of dimensions."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
