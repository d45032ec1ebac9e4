"""Models of TensorFlow and Keras as trainable modules: frozen, through tf2onnx, into `onnx.load`.

tf2onnx takes constants for weights; it would fold them into each other, drop those that are zero, and
forget their names. So weights become inputs of the graph that it sees, and initialisers of the model
that it makes. Faults of the way are mended here: `Erfc` (TensorFlow's exact GELU) and `Expm1`, which
tf2onnx does not know, and functions that ask for XLA, which TensorFlow does not inline (Keras' grouped
convolutions).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from funtorch.grad_mode import no_grad
from funtorch.onnx.module import OnnxModule
from funtorch.tensorflow.exchange import compare

OPSET = 18  # the newest that tf2onnx writes


def from_keras(
    model: keras.Model, signature: Sequence[Any] | None = None, *, check: bool = True
) -> OnnxModule:
    """A trainable module from a Keras model: Sequential, functional, or subclassed and called once.

    Weights keep Keras' paths as names (`dense.kernel`, in Keras' layout); what Keras does not train
    is a buffer. It computes what Keras computes with training=False.
    signature: a `tf.TensorSpec` or a structure of them per argument, where the model's own
    description of its inputs will not do. check: compare both on random inputs; raises ValueError
    where they differ.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Keras runs on {keras.backend.backend()} here, not on TensorFlow")
    call = tf.function(lambda *inputs: model(*inputs, training=False))
    concrete = call.get_concrete_function(*(signature or _inputs_of(model)))
    prefix = f"{model.name}/"
    names = {id(v.value.handle): v.path.removeprefix(prefix) for v in model.variables}
    trainable = {id(v.value.handle) for v in model.trainable_variables}
    return _imported(concrete, names, trainable, check)


def from_saved_model(
    path: str | os.PathLike[str], signature: str = "serving_default", *, check: bool = True
) -> OnnxModule:
    """A trainable module from a signature of a SavedModel."""
    loaded = tf.saved_model.load(os.fspath(path))
    if signature not in loaded.signatures:
        raise KeyError(f"no signature {signature!r} in {path}, but {sorted(loaded.signatures)}")
    return _of_concrete(loaded.signatures[signature], check)


def from_function(fn: Any, signature: Sequence[Any] = (), *, check: bool = True) -> OnnxModule:
    """A trainable module from a function of tensors; the variables it reads become Parameters.

    fn: a `tf.function`, a Python function, or a concrete function, which needs no signature.
    signature: a `tf.TensorSpec` per argument; None in a shape means any extent.
    """
    if not hasattr(fn, "structured_input_signature"):
        traced = fn if hasattr(fn, "get_concrete_function") else tf.function(fn)
        fn = traced.get_concrete_function(*signature)
    return _of_concrete(fn, check)


def _inputs_of(model: keras.Model) -> list[Any]:
    """The arguments as Keras describes them, the batch left open."""
    if isinstance(model, keras.Sequential):
        return [_open(model.inputs[0].shape, model.inputs[0].dtype)]
    if getattr(model, "inputs", None):
        return [tf.nest.map_structure(lambda t: _open(t.shape, t.dtype, t.name), model.input)]
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        raise ValueError(f"{model.name} has not been called yet, or needs a signature")
    return [_open(shapes, model.input_dtype)]


def _open(shape: Any, dtype: Any, name: str | None = None) -> tf.TensorSpec:
    return tf.TensorSpec((None, *shape[1:]), dtype, name)


def _of_concrete(fn: Any, check: bool) -> OnnxModule:
    names = {id(v.handle): v.name.removesuffix(":0") for v in fn.graph.variables}
    trainable = {id(v.handle) for v in fn.graph.variables if v.trainable}
    return _imported(fn, names, trainable, check)


def _imported(fn: Any, names: dict[int, str], trainable: set[int], check: bool) -> OnnxModule:
    """A concrete function as a module. names, trainable: by the identity of a variable's handle."""
    with _quiet():
        frozen = convert_variables_to_constants_v2(fn, lower_control_flow=False)
        graph = frozen.graph.as_graph_def()
        _inlinable(graph)
        weights = _weights_as_inputs(graph, fn, names)
        inputs = [i.name for i in frozen.inputs]
        renamed = {tensor: name for tensor, (name, _) in weights.items()}
        renamed |= {i: i.removesuffix(":0") for i in inputs}
        renamed |= dict(zip((o.name for o in frozen.outputs), _output_names(fn), strict=True))
        proto, _ = tf2onnx.convert.from_graph_def(
            graph,
            input_names=[*inputs, *weights],
            output_names=[o.name for o in frozen.outputs],
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, []), "Expm1": (_expm1, [])},
            tensors_to_rename=renamed,
        )
    _initialize(proto, dict(weights.values()))
    module = OnnxModule(proto, {names[i] for i in trainable if i in names}).eval()
    if check:
        _compare(fn, module)
    return module


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


def _weights_as_inputs(graph: Any, fn: Any, names: dict[int, str]) -> dict[str, tuple[str, Any]]:
    """Turns the constants that were variables into placeholders. -> {tensor: (name, value)}"""
    variables = {id(v.handle): v for v in fn.graph.variables}
    nodes = {node.name: node for node in graph.node if node.op == "Const"}
    found: dict[str, tuple[str, Any]] = {}
    taken: set[str] = set()
    for handle, placeholder in fn.graph.captures:
        node, variable = nodes.get(placeholder.op.name), variables.get(id(handle))
        if node is None or variable is None:
            continue
        name = base = names[id(handle)].replace("/", ".")
        while name in taken:
            name = f"{base}_{len(taken)}"
        taken.add(name)
        names[id(handle)] = name
        node.op = "Placeholder"
        node.attr["shape"].shape.CopyFrom(node.attr.pop("value").tensor.tensor_shape)
        found[f"{node.name}:0"] = (name, variable)
    return found


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


def _output_names(fn: Any) -> list[str]:
    """The keys of a dict of outputs, else output_0, output_1, ..."""
    outputs = fn.structured_outputs
    if isinstance(outputs, dict) and len(outputs) == len(fn.outputs):
        return sorted(outputs)
    return [f"output_{i}" for i in range(len(fn.outputs))]


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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


def _compare(fn: Any, module: OnnxModule) -> None:
    """Raises ValueError unless both compute the same from random inputs."""
    generator = np.random.default_rng(0)
    inputs = tf.nest.map_structure(
        lambda s: _random(s, generator) if isinstance(s, tf.TensorSpec) else s,
        fn.structured_input_signature,
    )
    arrays = [v for v in tf.nest.flatten(inputs) if isinstance(v, np.ndarray)]
    args, kwargs = tf.nest.map_structure(
        lambda v: tf.constant(v) if isinstance(v, np.ndarray) else v, inputs
    )
    try:
        theirs = tf.nest.flatten(fn(*args, **kwargs))
    except Exception as error:
        error.add_note("TensorFlow fails on the random inputs of check=True")
        raise
    with no_grad():
        ours = module(*arrays)
    compare(module.output_names, theirs, ours if isinstance(ours, tuple) else (ours,))


def _random(spec: tf.TensorSpec, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """An input of this type: two samples, 8 steps, images of 32 by 32 where nothing else is said."""
    free = 8 if spec.shape.rank < 4 else 32
    shape = [(free if i else 2) if n is None else n for i, n in enumerate(spec.shape)]
    dtype = spec.dtype.as_numpy_dtype
    if spec.dtype.is_floating:
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)
