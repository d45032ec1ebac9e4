"""From TensorFlow's graphs to ONNX, through tf2onnx.

Faults of the way are mended here: `Erfc` (TensorFlow's exact GELU) and `Expm1`, which tf2onnx does not
know, random numbers by key, and functions that ask for XLA, which TensorFlow does not inline (Keras'
grouped convolutions).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import tf2onnx

OPSET = 18  # the newest that tf2onnx writes


def converted(
    graph: Any, inputs: Sequence[str], weights: dict[str, tuple[str, Any]], outputs: dict[str, str]
) -> onnx.ModelProto:
    """A GraphDef as a model. weights: {input tensor: (name, variable)}; outputs: {tensor: name}."""
    _inlinable(graph)
    renamed = {tensor: name for tensor, (name, _) in weights.items()}
    renamed |= {i: i.removesuffix(":0") for i in inputs} | outputs
    proto, _ = tf2onnx.convert.from_graph_def(
        graph,
        input_names=[*inputs, *weights],
        output_names=list(outputs),
        opset=OPSET,
        custom_op_handlers={op: (handler, []) for op, handler in _HANDLERS.items()},
        tensors_to_rename=renamed,
    )
    _initialize(proto, dict(weights.values()))
    return proto


def _inlinable(graph: Any) -> None:
    """Functions that ask to be compiled by XLA are called like any others."""
    bodies = [f.node_def for f in graph.library.function]
    for node in (n for nodes in (graph.node, *bodies) for n in nodes):
        if node.op in ("StatefulPartitionedCall", "PartitionedCall"):
            node.op = "PartitionedCall"
            node.attr.pop("_XlaMustCompile", None)
    for function in graph.library.function:
        function.attr.pop("_XlaMustCompile", None)
        function.attr.pop("_noinline", None)


def _initialize(proto: onnx.ModelProto, weights: dict[str, Any]) -> None:
    """Inputs that are weights become initialisers; what was one becomes a constant node."""
    graph = proto.graph
    inputs = [i for i in graph.input if i.name not in weights]
    constants = [
        onnx.helper.make_node("Constant", [], [t.name], t.name, value=t) for t in graph.initializer
    ]
    nodes = [*constants, *graph.node]
    del graph.input[:], graph.initializer[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(nodes)
    for name, variable in weights.items():
        graph.initializer.append(onnx.numpy_helper.from_array(variable.numpy(), name))


def output_names(structure: Any, count: int) -> list[str]:
    """The keys of a dict of outputs, else output_0, output_1, ..."""
    if isinstance(structure, dict) and len(structure) == count:
        return sorted(structure)
    return [f"output_{i}" for i in range(count)]


def _erfc(context: Any, node: Any, name: str, args: Any) -> None:
    """Erfc(x) as 1 - Erf(x)."""
    dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    inputs, outputs = list(node.input), list(node.output)
    context.remove_node(name)
    erf = context.make_node("Erf", inputs)
    one = np.array(1, tf2onnx.utils.map_onnx_to_numpy_type(dtype))
    one = context.make_const(tf2onnx.utils.make_name(name), one)
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=outputs, dtypes=[dtype],
        shapes=[shape],
    )  # fmt: skip


def _expm1(context: Any, node: Any, name: str, args: Any) -> None:
    """Exp(x) - 1, exact near 0: Elu(x) up to 0, and above it -Elu(-x) Exp(x)."""
    dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    (x,), outputs = list(node.input), list(node.output)
    context.remove_node(name)

    def made(op: str, *inputs: str) -> str:
        return context.make_node(op, list(inputs)).output[0]

    zero = np.array(0, tf2onnx.utils.map_onnx_to_numpy_type(dtype))
    zero = context.make_const(tf2onnx.utils.make_name(name), zero).output[0]
    above = made("Mul", made("Neg", made("Elu", made("Neg", x))), made("Exp", x))
    context.make_node(
        "Where", [made("Greater", x, zero), above, made("Elu", x)], name=name, outputs=outputs,
        dtypes=[dtype], shapes=[shape],
    )  # fmt: skip


def _drawn(op: str) -> Any:
    """A handler that draws anew by an ONNX op, instead of from the key that the graph has."""

    def handler(context: Any, node: Any, name: str, args: Any) -> None:
        dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
        extents, outputs = node.input[0], list(node.output)
        context.remove_node(name)
        to = {"to": onnx.TensorProto.INT64}
        extents = context.make_node("Cast", [extents], attr=to).output[0]
        zeros = context.make_node("ConstantOfShape", [extents]).output[0]
        context.make_node(
            op, [zeros], name=name, outputs=outputs, attr={"dtype": dtype}, dtypes=[dtype],
            shapes=[shape],
        )  # fmt: skip

    return handler


def _unneeded(context: Any, node: Any, name: str, args: Any) -> None:
    """Keys and counters, which nothing reads any more."""
    outputs = list(node.output)
    context.remove_node(name)
    for output in outputs:
        context.make_const(output, np.zeros(1, np.int64))


_HANDLERS = {
    "Erfc": _erfc,
    "Expm1": _expm1,
    "StatelessRandomGetKeyCounter": _unneeded,
    "StatelessRandomNormalV2": _drawn("RandomNormalLike"),
    "StatelessRandomUniformV2": _drawn("RandomUniformLike"),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of a way that is right by what is checked after it."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
