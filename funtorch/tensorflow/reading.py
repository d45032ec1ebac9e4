"""Models of TensorFlow and Keras as trainable modules: frozen, through tf2onnx, into `onnx.load`.

tf2onnx takes constants for weights; it would fold them into each other, drop those that are zero, and
forget their names. So weights become inputs of the graph that it sees, and initialisers of the model
that it makes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
import onnx
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from funtorch.grad_mode import no_grad
from funtorch.onnx.module import OnnxModule
from funtorch.tensorflow.conversion import converted, output_names, quiet
from funtorch.tensorflow.exchange import compare, random_inputs
from funtorch.tensorflow.training import with_training


def from_keras(
    model: keras.Model,
    signature: Sequence[Any] | None = None,
    *,
    training: bool = True,
    check: bool = True,
) -> OnnxModule:
    """A trainable module from a Keras model: Sequential, functional, or subclassed and called once.

    Weights keep Keras' paths as names (`dense.kernel`, in Keras' layout); what Keras does not train
    is a buffer. It comes in eval() mode and computes what Keras computes with training=False; after
    train() what Keras computes with training=True: Dropout drops, running statistics are updated.
    training=False leaves that out: batch norm keeps its statistics; a warning says so where it fails.

    signature: a `tf.TensorSpec` or a structure of them per argument, where the model's own
    description of its inputs will not do. check: compare both on random inputs; raises ValueError
    where they differ.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Keras runs on {keras.backend.backend()} here, not on TensorFlow")
    given = signature or _inputs_of(model)
    call = tf.function(lambda *inputs: model(*inputs, training=False))
    concrete = call.get_concrete_function(*given)
    prefix = f"{model.name}/"
    names = {id(v.value.handle): v.path.removeprefix(prefix) for v in model.variables}
    trainable = {id(v.value.handle) for v in model.trainable_variables}
    proto, learned = _imported(concrete, names, trainable)
    module = _module(concrete, proto, learned, check)
    return with_training(module, proto, model, given, names, check) if training else module


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
    return _module(fn, *_imported(fn, names, trainable), check)


def _module(fn: Any, proto: onnx.ModelProto, learned: set[str], check: bool) -> OnnxModule:
    module = OnnxModule(proto, learned).eval()
    if check:
        _compare(fn, module)
    return module


def _imported(
    fn: Any, names: dict[int, str], trainable: set[int]
) -> tuple[onnx.ModelProto, set[str]]:
    """A concrete function as ONNX, and the names of weights that train.

    names, trainable: by the identity of a variable's handle.
    """
    with quiet():
        frozen = convert_variables_to_constants_v2(fn, lower_control_flow=False)
        graph = frozen.graph.as_graph_def()
        weights = _weights_as_inputs(graph, fn, names)
        wanted = output_names(fn.structured_outputs, len(fn.outputs))
        outputs = dict(zip((o.name for o in frozen.outputs), wanted, strict=True))
        proto = converted(graph, [i.name for i in frozen.inputs], weights, outputs)
    return proto, {names[i] for i in trainable if i in names}


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


def _compare(fn: Any, module: OnnxModule) -> None:
    """Raises ValueError unless both compute the same from random inputs."""
    arrays, (args, kwargs) = random_inputs(fn.structured_input_signature)
    try:
        theirs = tf.nest.flatten(fn(*args, **kwargs))
    except Exception as error:
        error.add_note("TensorFlow fails on the random inputs of check=True")
        raise
    with no_grad():
        ours = module(*arrays)
    compare(module.output_names, theirs, ours if isinstance(ours, tuple) else (ours,))
