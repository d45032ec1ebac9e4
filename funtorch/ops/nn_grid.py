"""Sampling images at arbitrary places: grid_sample, affine_grid."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.ops._declare import Array, composite, op
from funtorch.tensor import Tensor, size_of

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")

# Coordinates --------------------------------------------------------------------------------------


def _unnormalised(x: Array, size: int, align: bool) -> Array:
    """From [-1, 1] to pixels."""
    return (x + 1) / 2 * (size - 1) if align else ((x + 1) * size - 1) / 2


def _clipped(x: Array, size: int) -> Array:
    """Into the image; without a gradient at and beyond its border, as in PyTorch."""
    return jnp.where(x <= 0, 0, jnp.where(x >= size - 1, size - 1, x)).astype(x.dtype)


def _reflected(x: Array, size: int, align: bool) -> Array:
    low, high = (0, 2 * (size - 1)) if align else (-1, 2 * size - 1)
    if low == high:
        return jnp.zeros_like(x)
    start, span = low / 2, (high - low) / 2
    away = jnp.abs(x - start)
    flips = jnp.floor(away / span)
    extra = away - flips * span
    return jnp.where(flips % 2 == 0, extra + start, span - extra + start)


def _placed(x: Array, size: int, padding: str, align: bool) -> Array:
    if padding == "border":
        return _clipped(x, size)
    if padding == "reflection":
        return _clipped(_reflected(x, size, align), size)
    return x


# Reading pixels -------------------------------------------------------------------------------------


def _pixels(x: Array, index: list[Array]) -> Array:
    """x: [n, c, *sizes], index: one [n, *places] per axis -> [n, c, *places]; zero outside."""
    sizes = x.shape[2:]
    inside = jnp.ones(index[0].shape, bool)
    flat = jnp.zeros(index[0].shape, jnp.int32)
    for i, n in zip(index, sizes, strict=True):
        inside &= (i >= 0) & (i < n)
        flat = flat * n + jnp.clip(jnp.nan_to_num(i), 0, n - 1).astype(jnp.int32)
    rows = x.reshape(*x.shape[:2], -1)
    picked = jnp.take_along_axis(rows, flat.reshape(flat.shape[0], 1, -1), axis=2)
    picked = picked.reshape(*x.shape[:2], *flat.shape[1:])
    return jnp.where(inside[:, None], picked, 0)


def _linear(x: Array, places: list[Array]) -> Array:
    """All corners at one go: one gather compiles several times faster than one per corner."""
    ends = np.array(list(itertools.product((0, 1), repeat=len(places))))
    index, weight = [], jnp.ones((), x.dtype)
    for p, end in zip(places, ends.T, strict=True):
        end = end.reshape(-1, *(1,) * (p.ndim - 1))
        p = p[:, None]
        floor = jnp.floor(p)
        index.append(floor + end)
        weight = weight * jnp.where(end == 1, p - floor, floor + 1 - p)
    return (_pixels(x, index) * weight[:, None]).sum(2)


def _cubic_weights(t: Array) -> list[Array]:
    a = -0.75

    def near(x: Array) -> Array:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Array) -> Array:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _cubic(x: Array, places: list[Array], padding: str, align: bool) -> Array:
    index, weights = [], []
    for axis, (p, n) in enumerate(zip(places, x.shape[2:], strict=True)):
        floor = jnp.floor(p)
        taps = [_placed(floor + t - 1, n, padding, align) for t in range(4)]
        index.append(jnp.expand_dims(jnp.stack(taps, 1), 2 - axis))
        weights.append(jnp.expand_dims(jnp.stack(_cubic_weights(p - floor), 1), 2 - axis))
    weight = weights[0] * weights[1]
    index = [jnp.broadcast_to(i, weight.shape) for i in index]
    return (_pixels(x, index) * weight[:, None]).sum((2, 3))


def _check(x: Array, grid: Array, mode: str) -> None:
    if x.ndim not in (4, 5):
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got input with sizes {list(x.shape)} and grid with sizes {list(grid.shape)}"
        )
    if x.ndim != grid.ndim or grid.shape[-1] != x.ndim - 2 or x.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size and dimensions, and "
            f"grid to have size {x.ndim - 2} in last dimension, but got input with sizes "
            f"{list(x.shape)} and grid with sizes {list(grid.shape)}"
        )
    if any(n == 0 for n in x.shape[2:]):
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has "
            f"sizes {list(x.shape)}"
        )
    if x.ndim == 5 and mode == "bicubic":
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


@op(function=False, grad_name="GridSamplerBackward0")
def _sampled(self: Array, grid: Array, mode: str, padding: str, align: bool) -> Array:
    """self: [n, c, ...], grid: [n, ..., d], x first -> [n, c, ...]"""
    _check(self, grid, mode)
    places = [_unnormalised(grid[..., -1 - i], n, align) for i, n in enumerate(self.shape[2:])]
    if mode == "bicubic":
        return _cubic(self, places, padding, align)
    places = [_placed(p, n, padding, align) for p, n in zip(places, self.shape[2:], strict=True)]
    if mode == "nearest":
        return _pixels(self, [jnp.round(p) for p in places])
    return _linear(self, places)


@composite("functional", function=False)
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Values at the places of `grid`, in [-1, 1]. [n, c, h, w], [n, h', w', 2] -> [n, c, h', w']"""
    if mode not in _MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    return _sampled(input, grid, mode, padding_mode, bool(align_corners))


def _by_number(name: str) -> None:
    def function(
        input: Tensor,
        grid: Tensor,
        interpolation_mode: int,
        padding_mode: int,
        align_corners: bool,
    ) -> Tensor:
        mode, padding = _MODES[interpolation_mode], _PADDINGS[padding_mode]
        return _sampled(input, grid, mode, padding, align_corners)

    function.__name__ = name
    function.__doc__ = "`nn.functional.grid_sample`, with numbers for the modes."
    composite()(function)


for _name in ("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"):
    _by_number(_name)


def _axis(n: int, align: bool, dtype: Any) -> np.ndarray:
    line = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    return (line if align else line * (n - 1) / n).astype(dtype)


@op(function=False, grad_name="AffineGridGeneratorBackward0")
def _affine_grid(self: Array, size: Any, align: bool) -> Array:
    lines = [_axis(n, align, self.dtype) for n in size[2:]]
    mesh = np.meshgrid(*lines, indexing="ij")
    ones = np.ones(size[2:], self.dtype)
    base = jnp.asarray(np.stack([*mesh[::-1], ones], -1))  # [..., d + 1], x first
    return jnp.einsum("...k,njk->n...j", base, self)


@composite("functional", function=False)
def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """Where an affine map puts each pixel. theta: [n, d, d + 1], size: (n, c, ...) -> [n, ..., d]"""
    if not theta.dtype.is_floating_point:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    spatial = len(size) - 2
    if spatial not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {list(size)}"
        )
    if theta.ndim != 3 or size_of(theta)[1:] != (spatial, spatial + 1):
        raise ValueError(
            f"Expected a batch of {spatial}D affine matrices of shape Nx{spatial}x{spatial + 1} "
            f"for size {list(size)}. Got {list(theta.shape)}."
        )
    if any(int(n) <= 0 for n in size):
        raise ValueError(f"Expected non-zero, positive output size. Got {list(size)}")
    return _affine_grid(theta, tuple(int(n) for n in size), bool(align_corners))
