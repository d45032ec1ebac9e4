"""Sliding blocks as columns and back (im2col, col2im), and unpooling."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.ops._declare import Array, composite, op
from funtorch.ops._orders import by_channels
from funtorch.tensor import Tensor, size_of

Ints = Any


def _two(name: str, value: Ints) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    given = tuple(value)
    if len(given) == 1:
        return given[0], given[0]
    if len(given) != 2:
        raise RuntimeError(f"{name} is expected to be an int or a pair, but got {given}")
    return given


def _geometry(
    name: str, size: tuple[int, ...], kernel: Ints, dilation: Ints, padding: Ints, stride: Ints
) -> tuple[Any, Any, Any, Any, tuple[int, ...]]:
    k, d, p, s = (
        _two(w, v)
        for w, v in zip(
            ("kernel_size", "dilation", "padding", "stride"),
            (kernel, dilation, padding, stride),
            strict=True,
        )
    )
    for word, values, least in (
        ("kernel size", k, 1),
        ("dilation", d, 1),
        ("padding", p, 0),
        ("stride", s, 1),
    ):
        if any(v < least for v in values):
            how = "greater than zero" if least else "non-negative"
            raise RuntimeError(f"{word} should be {how}, but got {list(values)}")
    blocks = tuple(
        (n + 2 * pi - di * (ki - 1) - 1) // si + 1
        for n, ki, di, pi, si in zip(size, k, d, p, s, strict=True)
    )
    if any(b < 1 for b in blocks):
        raise RuntimeError(
            f"Given an input with spatial size {list(size)}, kernel_size={list(k)}, "
            f"dilation={list(d)}, padding={list(p)}, calculated shape of the array of sliding "
            f"blocks as {list(blocks)}, but its components must be at least one."
        )
    return k, d, p, s, blocks


@op(function=False, aliases=("functional.unfold",), saves=(), grad_name="Im2ColBackward0")
def im2col(
    input: Array, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1
) -> Array:
    """Sliding blocks as columns. [n, c, h, w] -> [n, c kh kw, blocks]"""
    if input.ndim not in (3, 4) or 0 in input.shape[input.ndim - 3 :]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(input.shape)}"
        )
    x = input if input.ndim == 4 else input[None]
    k, d, p, s, blocks = _geometry("unfold", x.shape[2:], kernel_size, dilation, padding, stride)
    x = jnp.pad(x, [(0, 0), (0, 0), (p[0], p[0]), (p[1], p[1])])
    columns = []
    for i, j in itertools.product(range(k[0]), range(k[1])):
        top, left = i * d[0], j * d[1]
        bottom = top + (blocks[0] - 1) * s[0] + 1
        right = left + (blocks[1] - 1) * s[1] + 1
        columns.append(x[:, :, top : bottom : s[0], left : right : s[1]])
    rows = x.shape[1] * k[0] * k[1]
    out = jnp.stack(columns, 2).reshape(x.shape[0], rows, blocks[0] * blocks[1])
    return out if input.ndim == 4 else out[0]


@op(function=False, aliases=("functional.fold",), saves=(), grad_name="Col2ImBackward0")
def col2im(
    input: Array,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Ints = 0,
    stride: Ints = 1,
) -> Array:
    """Columns summed into the image they came from. [n, c kh kw, blocks] -> [n, c, h, w]"""
    size = _two("output_size", output_size)
    if input.ndim not in (2, 3) or 0 in input.shape[input.ndim - 2 :]:
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    x = input if input.ndim == 3 else input[None]
    k, d, p, s, blocks = _geometry("fold", size, kernel_size, dilation, padding, stride)
    if x.shape[1] % (k[0] * k[1]):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={x.shape[1]} and kernel_size={list(k)}."
        )
    if x.shape[2] != blocks[0] * blocks[1]:
        raise RuntimeError(
            f"Given output_size={list(size)}, kernel_size={list(k)}, dilation={list(d)}, "
            f"padding={list(p)}, stride={list(s)}, expected size of input's dimension 2 to match "
            f"the calculated number of sliding blocks {blocks[0]} * {blocks[1]} = "
            f"{blocks[0] * blocks[1]}, but got input.size(2)={x.shape[2]}."
        )
    parts = x.reshape(x.shape[0], x.shape[1] // (k[0] * k[1]), k[0] * k[1], *blocks)
    whole = (size[0] + 2 * p[0], size[1] + 2 * p[1])
    zero = jnp.zeros((), x.dtype)
    out = jnp.zeros((*parts.shape[:2], *whole), x.dtype)
    for n, (i, j) in enumerate(itertools.product(range(k[0]), range(k[1]))):
        config = [(0, 0, 0), (0, 0, 0)]
        for start, b, step, total in zip((i * d[0], j * d[1]), blocks, s, whole, strict=True):
            config.append((start, total - start - (b - 1) * step - 1, step - 1))
        out = out + lax.pad(parts[:, :, n], zero, config)
    out = out[:, :, p[0] : p[0] + size[0], p[1] : p[1] + size[1]]
    return out if input.ndim == 3 else out[0]


# Unpooling ------------------------------------------------------------------------------------------


@op(function=False, saves=("indices",), grad_name="MaxUnpoolBackward0", order=by_channels(4))
def _unpooled(self: Array, indices: Array, size: Any) -> Array:
    """Values put back where `indices` say, zeros elsewhere. [n, c, ...] -> [n, c, *size]"""
    lead, space = self.shape[: self.ndim - len(size)], self.shape[self.ndim - len(size) :]
    rows, count = math.prod(lead), math.prod(space)
    index = indices.reshape(rows, count)
    return _put_back(self.reshape(rows, count), index, math.prod(size)).reshape(*lead, *size)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _put_back(x: Array, index: Array, total: int) -> Array:
    rows = jnp.arange(x.shape[0])[:, None]
    return jnp.zeros((x.shape[0], total), x.dtype).at[rows, index].set(x)


@_put_back.defjvp
def _put_back_jvp(total, primals, tangents):  # type: ignore[no-untyped-def]
    """Of two values in one place the last stays, but PyTorch gives both the gradient."""
    x, index = primals
    rows = jnp.arange(x.shape[0])[:, None]
    moved = jnp.zeros((x.shape[0], total), x.dtype).at[rows, index].add(tangents[0])
    return _put_back(x, index, total), moved


def _all(value: Ints, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)


def _unpool_size(
    name: str, x: Tensor, n: int, kernel: Any, stride: Any, padding: Any, wanted: Any
) -> tuple[int, ...]:
    default = tuple(
        (m - 1) * s + k - 2 * p
        for m, s, k, p in zip(size_of(x)[-n:], stride, kernel, padding, strict=True)
    )
    if wanted is None:
        return default
    wanted = tuple(wanted)
    if len(wanted) == n + 2:
        wanted = wanted[2:]
    if len(wanted) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a "
            f"length of '{len(wanted)}'"
        )
    for d in range(n):
        low, high = default[d] - stride[d], default[d] + stride[d]
        if not low < wanted[d] < high:
            raise ValueError(
                f'invalid output_size "{wanted}" (dim {d} must be between {low} and {high})'
            )
    return wanted


def _max_unpool(n: int) -> None:
    name = f"max_unpool{n}d"

    def function(
        input: Tensor,
        indices: Tensor,
        kernel_size: Ints,
        stride: Ints = None,
        padding: Ints = 0,
        output_size: Any = None,
    ) -> Tensor:
        kernel = _all(kernel_size, n)
        steps = kernel if stride is None else _all(stride, n)
        if input.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"Input to {name} should be a {n + 1}d or {n + 2}d Tensor, but got {input.ndim}d"
            )
        if size_of(indices) != size_of(input):
            raise RuntimeError(
                f"Expected shape of indices to be same as that of the input tensor "
                f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}"
            )
        if indices.dtype.name != "int64":
            raise RuntimeError(
                f"elements in indices should be type int64 but got: {indices.dtype.name}"
            )
        size = _unpool_size(name, input, n, kernel, steps, _all(padding, n), output_size)
        return _unpooled(input, indices, size)

    function.__name__ = name
    function.__doc__ = "Inverse of max pooling, with its indices. [n, c, ...] -> [n, c, ...]"
    composite("functional", function=False)(function)


for _n in (1, 2, 3):
    _max_unpool(_n)
