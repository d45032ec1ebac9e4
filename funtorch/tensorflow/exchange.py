"""Tensors both ways through DLPack: without a copy where both sides lie in the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.dispatch import to_host
from funtorch.dtypes import bool_
from funtorch.tensor import Tensor
from funtorch.utils.dlpack import from_dlpack, to_dlpack

TOLERANCE = 1e-4  # of the largest value, between two frameworks' outputs of one model


def from_tensor(value: Any) -> Tensor:
    """A tensor with the elements of a `tf.Tensor` or `tf.Variable`; nested structures keep their form.

    The memory is shared where XLA can read it in place. Raises TypeError for strings, and for
    tensors of a graph, which have no elements yet.
    """
    return tf.nest.map_structure(_from_one, value)  # type: ignore[no-any-return]


def _from_one(value: Any) -> Tensor:
    value = tf.convert_to_tensor(value)
    if not hasattr(value, "numpy"):
        raise TypeError("a symbolic tf.Tensor has no elements: call this outside of tf.function")
    return from_dlpack(value)


def to_tensor(value: Any) -> Any:
    """A `tf.Tensor` with a tensor's elements; nested structures keep their form.

    The memory is shared where it can be; the tensor is computed first, and gradients stay behind.
    """
    return tf.nest.map_structure(_to_one, value)


def _to_one(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    if value.dtype == bool_:
        return tf.constant(to_host(value))
    return tf.experimental.dlpack.from_dlpack(to_dlpack(value.contiguous()))


def compare(names: Sequence[str], theirs: Sequence[Any], ours: Sequence[Any]) -> None:
    """Raises ValueError unless two models gave the same outputs."""
    for name, a, b in zip(names, theirs, ours, strict=True):
        a, b = (np.asarray(v.detach() if isinstance(v, Tensor) else v) for v in (a, b))
        room = TOLERANCE * max(1.0, np.abs(a.astype(np.float64)).max(initial=0))
        if a.shape != b.shape:
            raise ValueError(f"output {name!r} has the shape {b.shape} instead of {a.shape}")
        if not np.allclose(a.astype(np.float64), b.astype(np.float64), 0, room, equal_nan=True):
            raise ValueError(f"output {name!r} differs between the frameworks: {a} but {b}")


def random_inputs(signature: Any) -> tuple[list[Any], Any]:
    """Random inputs for a structure of TensorSpecs: arrays in a list, and tensors in the structure."""
    generator = np.random.default_rng(0)
    made = [
        _random(s, generator) if isinstance(s, tf.TensorSpec) else s
        for s in tf.nest.flatten(signature)
    ]
    tensors = [tf.constant(v) if isinstance(v, np.ndarray) else v for v in made]
    arrays = [v for v in made if isinstance(v, np.ndarray)]
    return arrays, tf.nest.pack_sequence_as(signature, tensors)


def _random(spec: tf.TensorSpec, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """An input of this type: two samples, 8 steps, images of 32 by 32 where nothing else is said."""
    free = 8 if spec.shape.rank < 4 else 32
    shape = [(free if i else 2) if n is None else n for i, n in enumerate(spec.shape)]
    dtype = spec.dtype.as_numpy_dtype
    if spec.dtype.is_floating:
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)
