"""Convolutions and their transposes in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from funtorch.ops._convolve import convolve, transposed
from funtorch.ops._declare import Array, op
from funtorch.ops._orders import by_channels

Ints = Any


def _tuple(value: Ints, n: int, what: str) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * n
    if len(value) == 1:
        return (value[0],) * n
    if len(value) != n:
        raise RuntimeError(
            f"expected {what} to be a single integer value or a list of {n} values "
            f"to match the convolution dimensions, but got {what}={list(value)}"
        )
    return tuple(value)


def _padding(
    padding: Any,
    n: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        if padding == "valid":
            return [(0, 0)] * n
        if padding != "same":
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    sides = _tuple(padding, n, "padding")
    if any(p < 0 for p in sides):
        raise RuntimeError("negative padding is not supported")
    return [(p, p) for p in sides]


def _check(
    name: str, n: int, x: Array, weight: Array, groups: int, bias: Array | None = None
) -> None:
    if bias is not None and bias.dtype != x.dtype:
        raise RuntimeError(
            f"Input type ({x.dtype}) and bias type ({bias.dtype}) should be the same"
        )
    if weight.ndim != n + 2:
        raise RuntimeError(f"Expected {n + 2}-dimensional weight for {name}, got {weight.shape}")
    if x.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input "
            f"of size: {list(x.shape)}"
        )
    if x.dtype != weight.dtype:
        raise RuntimeError(
            f"Input type ({x.dtype}) and bias type ({weight.dtype}) should be the same"
        )
    channels = x.shape[-n - 1]
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if channels != weight.shape[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected "
            f"input{list(x.shape)} to have {weight.shape[1] * groups} channels, but got "
            f"{channels} channels instead"
        )


def _with_bias(out: Array, bias: Array | None, n: int) -> Array:
    return out if bias is None else out + bias.reshape((-1,) + (1,) * n)


def _batched(function: Callable[[Array], Array], x: Array, n: int) -> Array:
    return function(x[None])[0] if x.ndim == n + 1 else function(x)


def _conv(n: int) -> Any:
    def body(
        self: Array,
        weight: Array,
        bias: Array | None = None,
        stride: Ints = 1,
        padding: Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
    ) -> Array:
        _check(f"conv{n}d", n, self, weight, groups, bias)
        steps, holes = _tuple(stride, n, "stride"), _tuple(dilation, n, "dilation")
        if any(s <= 0 for s in steps):
            raise RuntimeError("non-positive stride is not supported")
        if any(h <= 0 for h in holes):
            raise RuntimeError("dilation should be greater than zero")
        sides = _padding(padding, n, weight.shape[2:], steps, holes)
        for size, side, kernel, hole in zip(
            self.shape[-n:], sides, weight.shape[2:], holes, strict=True
        ):
            if size + sum(side) < hole * (kernel - 1) + 1:
                raise RuntimeError(
                    f"Calculated padded input size per channel: ({size + sum(side)}). Kernel size: "
                    f"({hole * (kernel - 1) + 1}). Kernel size can't be greater than actual input "
                    "size"
                )
        made = _batched(lambda x: convolve(x, weight, steps, sides, holes, groups), self, n)
        return _with_bias(made, bias, n)

    body.__name__ = f"conv{n}d"
    body.__doc__ = (
        f"Convolution over {n} dimensions. [N, C, ...], [O, C/groups, ...] -> [N, O, ...]"
    )
    return op(
        "functional",
        saves=("self", "weight"),
        grad_name="ConvolutionBackward0",
        order=by_channels(4, 5, inputs=2),
    )(body)


conv1d, conv2d, conv3d = (_conv(n) for n in (1, 2, 3))


def _transposed_weight(weight: Array, groups: int, n: int) -> Array:
    """[C, O/groups, ...] -> [O, C/groups, ...], reversed in space."""
    c, o = weight.shape[:2]
    space = weight.shape[2:]
    grouped = weight.reshape(groups, c // groups, o, *space)
    swapped = jnp.swapaxes(grouped, 1, 2).reshape(groups * o, c // groups, *space)
    return jnp.flip(swapped, tuple(range(2, n + 2)))


def _conv_transpose(n: int) -> Any:
    def body(
        self: Array,
        weight: Array,
        bias: Array | None = None,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        dilation: Ints = 1,
    ) -> Array:
        if self.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to conv_transpose{n}d"
                f", but got input of size: {list(self.shape)}"
            )
        if self.shape[-n - 1] != weight.shape[0]:
            raise RuntimeError(
                f"Given transposed=1, weight of size {list(weight.shape)}, expected "
                f"input{list(self.shape)} to have {weight.shape[0]} channels, but got "
                f"{self.shape[-n - 1]} channels instead"
            )
        steps, holes = _tuple(stride, n, "stride"), _tuple(dilation, n, "dilation")
        if any(e <= 0 for e in (*steps, *holes)):
            raise RuntimeError("stride and dilation should be greater than zero")
        sides = _tuple(padding, n, "padding")
        extra = _tuple(output_padding, n, "output_padding")
        for e, s, h in zip(extra, steps, holes, strict=True):
            if e >= s and e >= h:
                raise RuntimeError(
                    "output padding must be smaller than either stride or dilation, but got "
                    f"output_padding {extra}, stride {steps}, dilation {holes}"
                )
        reach = [h * (k - 1) for h, k in zip(holes, weight.shape[2:], strict=True)]
        around = [(r - p, r - p + e) for r, p, e in zip(reach, sides, extra, strict=True)]
        kernel = _transposed_weight(weight, groups, n)

        def apply(x: Array) -> Array:
            return transposed(x, kernel, steps, around, holes, groups)

        return _with_bias(_batched(apply, self, n), bias, n)

    body.__name__ = f"conv_transpose{n}d"
    body.__doc__ = f"Transposed convolution over {n} dimensions. [N, C, ...], [C, O/groups, ...] -> [N, O, ...]"
    return op(
        "functional",
        saves=("self", "weight"),
        grad_name="ConvolutionBackward0",
        order=by_channels(4, 5, inputs=2),
    )(body)


conv_transpose1d, conv_transpose2d, conv_transpose3d = (_conv_transpose(n) for n in (1, 2, 3))
