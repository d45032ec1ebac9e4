"""Modules as TensorFlow programs: exported to ONNX, whose ops become TensorFlow's."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import keras
import onnx
import tensorflow as tf

from funtorch.bridge import in_mode
from funtorch.export import Dim
from funtorch.grad_mode import no_grad
from funtorch.nn.module import Module
from funtorch.onnx import export
from funtorch.tensor import Tensor
from funtorch.tensorflow.exchange import compare, to_tensor
from funtorch.tensorflow.layer import OnnxLayer
from funtorch.tensorflow.modes import exported, in_training
from funtorch.tensorflow.module import OnnxModule
from funtorch.tensorflow.serving import Served

Model = Module | onnx.ModelProto


def to_module(
    model: Model,
    example_args: Any = (),
    *,
    dynamic_shapes: Any = None,
    training: bool = True,
    check: bool = True,
    **options: Any,
) -> OnnxModule:
    """A `tf.Module` that computes what the module does, with `tf.Variable`s for its state.

    Parameters train if they require grad, buffers do not. Names are those of the state_dict; layouts
    stay PyTorch's (channels second).

    The call computes what the module does after eval(); with `training=True` what it does in training:
    Dropout drops, running statistics are updated. Training is the mode of each submodule as it is if
    the module is in training (so one that was frozen stays so), else that after train().
    training=False: only the mode that the module is in, without changes of its state.

    dynamic_shapes: as for torch.export.export; by default the first dimension of every tensor is a
    batch of any size, {} keeps all extents. check: run it on the example arguments and compare;
    raises ValueError where they differ. options: more for torch.onnx.export. model may also be an
    onnx.ModelProto, which needs no arguments.
    """
    if isinstance(model, onnx.ModelProto):
        return OnnxModule(model)
    args = _arguments(example_args)
    shapes = _batches(args) if dynamic_shapes is None else dynamic_shapes
    options = {"verify": False, **options, "dynamic_shapes": shapes or None}
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    if training:
        proto, other, draws = exported(model, args, options)
    else:
        proto, other, draws = export(model, args, **options).model_proto, None, False
    made = OnnxModule(proto, trainable, type(model).__name__, training=other)
    if check:
        with in_mode(model, False) if training else contextlib.nullcontext():
            _compare(model, args, made)
        if other and not draws:
            _compare_training(model, args, made)
    return made


def to_keras(
    model: Model, example_args: Any = (), *, name: str | None = None, **options: Any
) -> keras.Model:
    """A functional Keras model of one layer, whose weights are those of `to_module`: `fit` trains it.

    What `fit` and `training=True` compute is what the module does in training; see `to_module`, whose
    options this takes. `save("x.keras")` needs `import funtorch.tensorflow` to load, since Keras
    stores no code of layers; `export(folder)` writes a SavedModel, which needs nothing.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Keras runs on {keras.backend.backend()} here, not on TensorFlow")
    made = to_module(model, example_args, **options)
    inputs = [
        keras.Input(batch_shape=spec.shape, dtype=spec.dtype.name, name=spec.name)
        for spec in made.program.signature
    ]
    outputs = OnnxLayer.of(made)(inputs)
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs, name=name)


def save_saved_model(
    model: Model,
    example_args: Any,
    path: str | os.PathLike[str],
    *,
    through: str = "onnx",
    dynamic_shapes: Any = None,
    **options: Any,
) -> None:
    """A SavedModel, which opens without funtorch.

    Its signature `serving_default` takes and gives tensors by name. through="onnx": TensorFlow's own
    ops; `tf.saved_model.load(path)` can be called, has `weights` by name and trains on.
    through="jax": the very program that funtorch runs, for serving only. Else as `to_module`.
    """
    if through == "jax":
        args = _arguments(example_args)
        shapes = _batches(args) if dynamic_shapes is None else dynamic_shapes
        made: Any = Served(model, args, shapes or None)
        made.serve(*to_tensor(args))  # fails here rather than where it is opened
    elif through == "onnx":
        made = to_module(model, example_args, dynamic_shapes=dynamic_shapes, **options)
    else:
        raise ValueError(f"through is 'onnx' or 'jax', not {through!r}")
    tf.saved_model.save(made, os.fspath(path), signatures=made.serve)


def _arguments(example_args: Any) -> tuple[Any, ...]:
    return (example_args,) if isinstance(example_args, Tensor) else tuple(example_args)


def _batches(args: Any) -> Any:
    """The first dimension of all tensors as one batch, if they agree on its size."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    if len(tensors) != len(args) or len({t.shape[0] if t.ndim else None for t in tensors}) != 1:
        return None
    return tuple({0: Dim("batch")} for _ in args) if tensors[0].ndim else None


def _compare(model: Module, args: Any, made: OnnxModule) -> None:
    with no_grad():
        ours = model(*args)
    flat = [v for v in tf.nest.flatten(ours) if isinstance(v, Tensor)]
    theirs = tf.nest.flatten(made(*to_tensor(tf.nest.flatten(args))))
    compare(made.program.outputs, flat, theirs)


def _compare_training(model: Module, args: Any, made: OnnxModule) -> None:
    ours, state = in_training(model, args)
    theirs, news = made.trained.run(to_tensor(tf.nest.flatten(args)), made.weights)
    compare(made.trained.outputs, ours, theirs)
    compare(list(news), [state[n] for n in news], list(news.values()))
