"""Drawing numbers into tensors: where they come from, and how they lie in memory.

On the CPU numbers are drawn on the host, as PyTorch draws them, and become a leaf of the program;
so the trace is the same at every step. On a GPU only a key becomes a leaf (`keyed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funtorch import dtypes, random_mode
from funtorch.device import device_of
from funtorch.dispatch import is_contiguous
from funtorch.grad_mode import mode
from funtorch.lowering import META, Value, aval_of, constant
from funtorch.ops import keyed
from funtorch.random.engine import Engine
from funtorch.random.generator import Generator, default_for
from funtorch.tensor import Tensor, dtype_of, strides_of, wrap
from funtorch.views import adopt, check_writable

Draw = Callable[[Engine, int], "np.ndarray[Any, Any]"]
"""(engine, how many) -> the numbers, in the order in which memory is filled."""

KINDS = {
    "bool": "Bool",
    "uint8": "Byte",
    "int8": "Char",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "float32": "Float",
    "float64": "Double",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}
"""What PyTorch's messages call a dtype."""


def stream_of(place: Any, generator: Generator | None) -> Any:
    """The stream that draws on a place. Raises RuntimeError for a generator of another device."""
    where = device_of(place)
    if generator is None:
        return default_for(where).stream
    if not isinstance(generator, Generator):
        raise TypeError(f"argument 'generator' must be Generator, not {type(generator).__name__}")
    if generator.device.type != where.type:
        raise RuntimeError(
            f"Expected a '{where.type}' device type for generator but found "
            f"'{generator.device.type}'"
        )
    return generator.stream


def drawn(
    shape: tuple[int, ...],
    place: Any,
    generator: Generator | None,
    draw: Draw,
    in_program: Callable[[Tensor, tuple[int, ...]], Tensor],
    dtype: Any,
    stride: tuple[int, ...] | None = None,
) -> Tensor:
    """A tensor of random numbers.

    draw: makes them on the host; in_program: (key, shape) makes them on a GPU. stride: how the
    tensor lies in memory, which PyTorch's samplers fill from its beginning.
    """
    if random_mode.state.randomness == "error":
        raise RuntimeError(
            "vmap: called random operation while in randomness error mode. Please either use the "
            "'same' or 'different' randomness flags on vmap or perform the randomness operation "
            "out of vmap"
        )
    if place is META:
        return wrap(Value(aval_of(shape, np.dtype(dtype), META)), stride)
    stream = stream_of(place, generator)
    if random_mode.state.key is not None:
        made = in_program(keyed.next_key(), shape)
    elif isinstance(stream, Engine):
        flat = draw(stream, math.prod(shape))
        made = wrap(constant(in_memory_order(flat, shape, stride), place), stride)
    else:
        made = in_program(wrap(constant(stream.key(), place)), shape)
    made._inference = mode.inference
    return made


def in_memory_order(
    flat: np.ndarray[Any, Any], shape: tuple[int, ...], stride: Sequence[int] | None
) -> np.ndarray[Any, Any]:
    """Numbers in the order of memory, as an array of this shape. flat: [n] -> [*shape]"""
    if stride is None:
        return flat.reshape(shape)
    order = sorted(range(len(shape)), key=lambda d: -stride[d])
    made = flat.reshape([shape[d] for d in order])
    return np.ascontiguousarray(made.transpose(np.argsort(order)))


def fill(
    self: Tensor,
    generator: Generator | None,
    draw: Draw,
    in_program: Callable[[Tensor, tuple[int, ...]], Tensor],
) -> Tensor:
    """Overwrite a tensor with random numbers of its own dtype."""
    check_writable(self)
    aval = self._value.aval
    stride = None if is_contiguous(aval.shape, self._stride) else strides_of(self)
    made = drawn(aval.shape, aval.place, generator, draw, in_program, aval.dtype, stride)
    made._stride = made._storage.layout = None
    if mode.enabled and self._requires:
        made = _forget(self, made)
    return adopt(self, made)


def fresh_key(place: Any) -> Tensor:
    """A key from the default generator, or from the key of an enclosing vmap. -> uint32 [2]"""
    if random_mode.state.key is not None:
        return keyed.next_key()
    stream = stream_of(place, None)
    words = stream.words(2) if isinstance(stream, Engine) else stream.key()
    return wrap(constant(words, place))


def _forget(self: Tensor, made: Tensor) -> Tensor:
    """The numbers as a result of `self`, to which they pass a gradient of zero."""
    return keyed._random_replaced(self, made)


def kind_of(tensor: Tensor) -> str:
    """What PyTorch's messages call the dtype of a tensor."""
    dtype = dtype_of(tensor)
    return KINDS.get(dtype.name, dtype.name)


def real_parts(dtype: dtypes.dtype) -> Any:
    """(type of the parts, numbers per element) of a floating or complex dtype."""
    return dtype.to_real().numpy, 2 if dtype.is_complex else 1
