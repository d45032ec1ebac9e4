"""Padding, pixel shuffles and distances between vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.ops._declare import Array, op
from funtorch.ops._orders import by_channels

Ints = Any  # one integer, or a tuple of them

_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _widths(ndim: int, pad: tuple[int, ...]) -> list[tuple[int, int]]:
    """PyTorch lists (before, after) from the last dimension backwards."""
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) // 2 > ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension "
            f"but got padding length {len(pad)} and input of dimension {ndim}"
        )
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return [(0, 0)] * (ndim - len(pairs)) + pairs[::-1]


def _check_width(mode: str, size: int, before: int, after: int) -> None:
    limit = size if mode == "circular" else size - 1
    if mode != "replicate" and max(before, after) > max(limit, 0):
        raise RuntimeError(
            f"Padding size should be at most {limit} for mode {mode}, but got padding "
            f"({before}, {after}) at a dimension of size {size}"
        )


_channels_kept = by_channels(4, 5)


def _padded_order(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
    return None if args[2] == "circular" else _channels_kept(index, ndim, args)


@op("functional", function=False, saves=(), order=_padded_order)
def pad(input: Array, pad: Ints, mode: str = "constant", value: float | None = None) -> Array:
    """Pad the last dimensions; negative widths crop. input: [..., L] -> [..., L + a + b]"""
    widths = _widths(input.ndim, pad)
    if mode != "constant" and mode not in _MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    crop = tuple(
        slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(input.shape, widths, strict=True)
    )
    grown = [(max(0, a), max(0, b)) for a, b in widths]
    if mode == "constant":
        fill = jnp.asarray(0 if value is None else value, input.dtype)
        return jnp.pad(input[crop], grown, constant_values=fill)
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    for size, (before, after) in zip(input.shape, widths, strict=True):
        _check_width(mode, size, before, after)
    if mode == "replicate":
        return _replicated(input, widths)
    return jnp.pad(input[crop], grown, mode=_MODES[mode])


def _replicated(x: Array, widths: Any) -> Array:
    """Edges repeated. What is cropped counts: the edge is that of the whole input."""
    for d, (before, after) in enumerate(widths):
        if before or after:
            n = x.shape[d]
            index = np.clip(np.arange(-before, n + after), 0, n - 1)
            x = jnp.take(x, index, axis=d)
    return x


@op("functional", saves=(), order=by_channels(4))
def pixel_shuffle(input: Array, upscale_factor: int) -> Array:
    """input: [..., C r r, H, W] -> [..., C, H r, W r]"""
    r = upscale_factor
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    split = input.reshape(*lead, c // (r * r), r, r, h, w)
    n = len(lead)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return split.transpose(order).reshape(*lead, c // (r * r), h * r, w * r)


@op("functional", saves=(), order=by_channels(4))
def pixel_unshuffle(input: Array, downscale_factor: int) -> Array:
    """input: [..., C, H r, W r] -> [..., C r r, H, W]"""
    r = downscale_factor
    *lead, c, h, w = input.shape
    if h % r or w % r:
        raise RuntimeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor={r}, "
            f"but they are {h} and {w}"
        )
    split = input.reshape(*lead, c, h // r, r, w // r, r)
    n = len(lead)
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return split.transpose(order).reshape(*lead, c * r * r, h // r, w // r)


@op("functional", saves=(), order=by_channels(4))
def channel_shuffle(input: Array, groups: int) -> Array:
    """input: [N, g c, ...] -> the same shape, channel k of each group side by side"""
    n, c, *rest = input.shape
    if groups <= 0 or c % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups."
        )
    split = input.reshape(n, groups, c // groups, *rest)
    return jnp.swapaxes(split, 1, 2).reshape(input.shape)


@op("functional", promote="float")
def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    """Cosine of the angle along dim; each norm is at least eps. x1, x2: [..., D, ...] -> [...]"""
    x1, x2 = jnp.broadcast_arrays(x1, x2)
    if not x1.ndim:
        x1, x2 = x1[None], x2[None]

    def unit(x: Array) -> Array:
        square = jnp.sum(x * x, axis=dim, keepdims=True)
        return x / jnp.sqrt(jnp.maximum(square, eps * eps))

    return jnp.sum(unit(x1) * unit(x2), axis=dim)


@op("functional")
def pairwise_distance(
    x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Array:
    """p-norm of x1 - x2 + eps over the last dimension. x1, x2: [..., D] -> [...]"""
    gap = x1 - x2
    if not jnp.issubdtype(gap.dtype, jnp.inexact):
        gap = gap.astype(jnp.float32)
    gap = jnp.abs(gap + eps)
    if p == float("inf"):
        return jnp.max(gap, axis=-1, keepdims=keepdim)
    if p == 2:
        return jnp.sqrt(jnp.sum(gap * gap, axis=-1, keepdims=keepdim))
    return jnp.sum(gap**p, axis=-1, keepdims=keepdim) ** (1 / p)
