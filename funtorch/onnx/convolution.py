"""Convolutions of any rank."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from funtorch.onnx.rules import Array, kernel, rule
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor


def pads_for(
    auto_pad: str, shape: Any, kernel_shape: Any, strides: Any, dilations: Any, pads: Any
) -> tuple[tuple[int, int], ...]:
    """Widths of the border (before, after) of each spatial dimension."""
    n = len(kernel_shape)
    if auto_pad in ("NOTSET", ""):
        pads = tuple(pads) if pads else (0,) * 2 * n
        return tuple((pads[i], pads[i + n]) for i in range(n))
    if auto_pad == "VALID":
        return ((0, 0),) * n
    widths = []
    for extent, k, stride, dilation in zip(shape, kernel_shape, strides, dilations, strict=True):
        out = -(-extent // stride)
        total = max((out - 1) * stride + (k - 1) * dilation + 1 - extent, 0)
        less, more = total // 2, total - total // 2
        widths.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
    return tuple(widths)


_CONV = {1: "conv1d", 2: "conv2d", 3: "conv3d"}


def _even(widths: tuple[tuple[int, int], ...]) -> bool:
    """Is the border the same on both sides, and not negative?"""
    return all(before == after >= 0 for before, after in widths)


@rule("Conv")
def conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Convolution. x: [N, C, *S], w: [M, C / group, *K], b: [M] -> [N, M, *S']"""
    n = x.ndim - 2
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    widths = pads_for(auto_pad, x.shape[2:], tuple(w.shape[2:]), strides, dilations, pads)
    if n in _CONV and _even(widths):
        padding = tuple(a for a, _ in widths)
        return TABLE[_CONV[n]].facade(x, w, b, tuple(strides), padding, tuple(dilations), group)
    return _conv(x, w, b, strides=strides, widths=widths, dilations=dilations, group=group)


@kernel
def _conv(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    strides: tuple,
    widths: tuple,
    dilations: tuple,
    group: int,
) -> Array:
    out = lax.conv_general_dilated(
        x, w, strides, widths, rhs_dilation=dilations, feature_group_count=group
    )
    return out if b is None else out + b.reshape((-1,) + (1,) * (x.ndim - 2))


def _cropped(full: Any, wanted: Any, upper: bool) -> tuple[list[tuple[int, int]], list[int]]:
    """What to take off both ends of the full extents for those wanted, and what they lack."""
    widths = []
    for size, target in zip(full, wanted, strict=True):
        total = max(size - target, 0)
        less, more = total // 2, total - total // 2
        widths.append((less, more) if upper else (more, less))
    return widths, [max(t - s, 0) for s, t in zip(full, wanted, strict=True)]


@rule("ConvTranspose")
def conv_transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Any = None,
    output_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Transposed convolution. x: [N, C, *S], w: [C, M / group, *K] -> [N, M, *S']"""
    n = x.ndim - 2
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    extra = output_padding or (0,) * n
    full = [
        (x.shape[2 + i] - 1) * strides[i] + (w.shape[2 + i] - 1) * dilations[i] + 1 + extra[i]
        for i in range(n)
    ]
    if output_shape is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        output_shape = [x.shape[2 + i] * strides[i] for i in range(n)]
    if output_shape is not None:
        widths, grown = _cropped(full, output_shape[-n:], auto_pad == "SAME_UPPER")
        extra = tuple(a + b for a, b in zip(extra, grown, strict=True))
    else:
        widths = pads_for(auto_pad, x.shape[2:], tuple(w.shape[2:]), strides, dilations, pads)
    return _conv_transpose(x, w, b, strides=strides, widths=tuple(widths), dilations=dilations,
                           group=group, extra=tuple(extra))  # fmt: skip


@kernel
def _conv_transpose(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    strides: tuple,
    widths: tuple,
    dilations: tuple,
    group: int,
    extra: tuple,
) -> Array:
    n = x.ndim - 2
    # [C, M/g, K] -> [M, C/g, K], turned around: then it is a convolution of the dilated input.
    split = w.reshape(group, w.shape[0] // group, *w.shape[1:])
    turned = jnp.flip(jnp.swapaxes(split, 1, 2), tuple(range(3, 3 + n)))
    turned = turned.reshape(-1, w.shape[0] // group, *w.shape[2:])
    reach = [(w.shape[2 + i] - 1) * dilations[i] for i in range(n)]
    padding = [(reach[i] - a, reach[i] - z + extra[i]) for i, (a, z) in enumerate(widths)]
    out = lax.conv_general_dilated(
        x,
        turned,
        (1,) * n,
        padding,
        lhs_dilation=strides,
        rhs_dilation=dilations,
        feature_group_count=group,
    )
    return out if b is None else out + b.reshape((-1,) + (1,) * n)
