"""Sampling of images: grids, regions, deformed windows, columns; and suppression of boxes."""

from __future__ import annotations

from functools import reduce
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funtorch.onnx.rules import Array, ints, kernel, rule
from funtorch.tensor import Tensor

_OLD_MODES = {"bilinear": "linear", "bicubic": "cubic"}


@rule("GridSample")
def grid_sample(
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Tensor:
    """x: [N, C, *S] at grid: [N, *P, rank], coordinates in [-1, 1], last axis first."""
    kind = _OLD_MODES.get(mode, mode)
    return _grid_sampled(x, grid, align=bool(align_corners), mode=kind, padding=padding_mode)


def _reflected(p: Any, low: float, high: float) -> Any:
    """p mirrored into [low, high]."""
    span = max(high - low, 1e-9)
    within = jnp.mod(p - low, 2 * span)
    return low + jnp.where(within > span, 2 * span - within, within)


def _pad_position(p: Any, n: int, align: bool, padding: str) -> Any:
    if padding == "border":
        return jnp.clip(p, 0, n - 1)
    if padding == "reflection":
        edges = (0.0, n - 1.0) if align else (-0.5, n - 0.5)
        return jnp.clip(_reflected(p, *edges), 0, n - 1)
    return p


def _cubic_weights(t: Any) -> list[Any]:
    a = -0.75
    near = [((a + 2) * s - (a + 3)) * s * s + 1 for s in (t, 1 - t)]
    far = [((a * s - 5 * a) * s + 8 * a) * s - 4 * a for s in (1 + t, 2 - t)]
    return [far[0], near[0], near[1], far[1]]


@kernel
def _grid_sampled(x: Array, grid: Array, *, align: bool, mode: str, padding: str) -> Array:
    rank = x.ndim - 2
    axes = []
    for d in range(rank):
        n, g = x.shape[2 + d], grid[..., rank - 1 - d]
        p = (g + 1) / 2 * (n - 1) if align else ((g + 1) * n - 1) / 2
        if mode != "cubic":
            p = _pad_position(p, n, align, padding)
        if mode == "nearest":
            axes.append([(jnp.round(p), jnp.ones_like(p))])
        elif mode == "linear":
            base = jnp.floor(p)
            axes.append([(base, 1 - (p - base)), (base + 1, p - base)])
        else:
            base = jnp.floor(p)
            weights = _cubic_weights(p - base)
            moved = [_pad_position(base + k - 1, n, align, padding) for k in range(4)]
            axes.append(list(zip(moved, weights, strict=True)))
    return sum(_corner(x, taps) for taps in product(*axes)).astype(x.dtype)


def _corner(x: Any, taps: Any) -> Any:
    """x at whole positions, one per axis, times the product of their weights; 0 outside."""
    index, inside = [], jnp.ones((), bool)
    for d, (position, _) in enumerate(taps):
        n = x.shape[2 + d]
        inside = inside & (position >= 0) & (position <= n - 1)
        index.append(jnp.clip(position, 0, n - 1).astype(jnp.int32))
    weight = reduce(lambda a, b: a * b, [w for _, w in taps])
    values = jax.vmap(lambda image, at: image[(slice(None), *at)])(x, tuple(index))
    return values * jnp.where(inside, weight, 0)[:, None]


@rule("RoiAlign", host="rois samples")
def roi_align(
    x: Tensor,
    rois: Any,
    samples: Any,
    *,
    ctx: Any,
    coordinate_transformation_mode: str | None = None,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Pooled regions. x: [N, C, H, W], rois: [R, 4] -> [R, C, height, width]"""
    default = "half_pixel" if ctx.opset >= 16 else "output_half_pixel"
    half = (coordinate_transformation_mode or default) == "half_pixel"
    boxes = np.asarray(rois, np.float64) * spatial_scale - (0.5 if half else 0.0)
    tables = [
        _bins(boxes[:, a], boxes[:, b], out, x.shape[d], sampling_ratio, half)
        for a, b, out, d in ((1, 3, output_height, 2), (0, 2, output_width, 3))
    ]
    arrays = [ctx.tensor(v) for table in tables for v in table]
    batch = ctx.tensor(np.asarray(samples, np.int64))
    return _regions(x, batch, arrays, largest=mode == "max")


def _bins(
    start: Any, end: Any, out: int, extent: int, ratio: int, half: bool
) -> tuple[Any, Any, Any, Any]:
    """Lower and upper index, the upper one's weight, and validity, each [R, out, samples]."""
    size = end - start if half else np.maximum(end - start, 1.0)
    each = size / out
    counts = np.full(len(size), ratio) if ratio > 0 else np.maximum(np.ceil(each), 1).astype(int)
    most = int(counts.max()) if len(counts) else 1
    step = np.arange(most)
    bins = start[:, None, None] + np.arange(out)[:, None] * each[:, None, None]
    at = bins + (step + 0.5) * (each / counts)[:, None, None]
    inside = (at >= -1) & (at <= extent)
    at = np.maximum(at, 0)
    low = np.minimum(at.astype(np.int64), extent - 1)
    high = np.minimum(low + 1, extent - 1)
    upper = np.where(low >= extent - 1, 0, at - low)
    # 1 for a sample, 0 for one outside of the image, -1 for one that this region lacks.
    valid = np.where(step < counts[:, None, None], inside.astype(np.int64), -1)
    return low, high, upper.astype(np.float32), valid


@kernel
def _regions(x: Array, batch: Array, tables: list[Array], *, largest: bool) -> Array:
    y_low, y_high, y_up, y_valid, x_low, x_high, x_up, x_valid = tables

    def one(
        sample: Any, yl: Any, yh: Any, yu: Any, yv: Any, xl: Any, xh: Any, xu: Any, xv: Any
    ) -> Any:
        image = x[sample]
        valid = (yv[:, :, None, None] > 0) & (xv > 0)
        present = (yv[:, :, None, None] >= 0) & (xv >= 0)
        corners = []
        for yi, wy in ((yl, 1 - yu), (yh, yu)):
            for xi, wx in ((xl, 1 - xu), (xh, xu)):
                weight = jnp.where(valid, wy[:, :, None, None] * wx, 0).astype(x.dtype)
                corners.append(image[:, yi[:, :, None, None], xi] * weight)
        if largest:
            best = reduce(jnp.maximum, corners)
            return jnp.max(jnp.where(present, best, -jnp.inf), (2, 4))
        count = jnp.sum(present, (1, 3)).astype(x.dtype)
        return jnp.sum(sum(corners), (2, 4)) / count

    return jax.vmap(one)(
        batch, y_low, y_high, y_up, y_valid, x_low, x_high, x_up, x_valid
    ).astype(x.dtype)  # fmt: skip


@rule("DeformConv")
def deform_conv(
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    b: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    offset_group: int = 1,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Convolution whose taps are moved. offset: [N, groups K K 2, H', W']"""
    return _deformed(
        x, w, offset, b, mask, dilations=tuple(dilations or (1, 1)), group=group,
        offset_group=offset_group, pads=tuple(pads or (0,) * 4), strides=tuple(strides or (1, 1)),
    )  # fmt: skip


@kernel
def _deformed(
    x: Array,
    w: Array,
    offset: Array,
    b: Array | None,
    mask: Array | None,
    *,
    dilations: tuple,
    group: int,
    offset_group: int,
    pads: tuple,
    strides: tuple,
) -> Array:
    n, c, _, _ = x.shape
    kh, kw = w.shape[2:]
    oh, ow = offset.shape[2:]
    moved = offset.reshape(n, offset_group, kh * kw, 2, oh, ow)
    rows = np.arange(oh)[:, None] * strides[0] - pads[0]
    columns = np.arange(ow)[None] * strides[1] - pads[1]
    taps = np.indices((kh, kw)).reshape(2, -1, 1, 1) * np.reshape(dilations, (2, 1, 1, 1))
    at = [moved[:, :, :, 0] + (rows + taps[0]), moved[:, :, :, 1] + (columns + taps[1])]
    images = x.reshape(n * offset_group, c // offset_group, *x.shape[2:])
    places = [p.reshape(n * offset_group, kh * kw, oh, ow) for p in at]
    base = [jnp.floor(p) for p in places]
    axes = [[(f, 1 - (p - f)), (f + 1, p - f)] for p, f in zip(places, base, strict=True)]
    found = sum(_corner(images, corner) for corner in product(*axes))
    found = found.reshape(n, offset_group, c // offset_group, kh * kw, oh, ow)
    if mask is not None:
        found = found * mask.reshape(n, offset_group, 1, kh * kw, oh, ow)
    found = found.reshape(n, group, c // group * kh * kw, oh, ow)
    weight = w.reshape(group, w.shape[0] // group, -1)
    y = jnp.einsum("ngkhw,gmk->ngmhw", found, weight).reshape(n, w.shape[0], oh, ow)
    y = y.astype(x.dtype)
    return y if b is None else y + b.reshape(-1, 1, 1)


@rule("Col2Im", host="image block")
def col2im(
    x: Tensor,
    image: Any,
    block: Any,
    *,
    dilations: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Blocks added up where they belong. x: [N, C block, L] -> [N, C, *image]"""
    n = len(ints(image))
    return _columns(
        x, image=ints(image), block=ints(block), dilations=tuple(dilations or (1,) * n),
        pads=tuple(pads or (0,) * 2 * n), strides=tuple(strides or (1,) * n),
    )  # fmt: skip


@kernel
def _columns(
    x: Array, *, image: tuple, block: tuple, dilations: tuple, pads: tuple, strides: tuple
) -> Array:
    n = len(image)
    full = [image[i] + pads[i] + pads[i + n] for i in range(n)]
    steps = [(full[i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i in range(n)]
    parts = x.reshape(x.shape[0], -1, *block, *steps)
    out = jnp.zeros((*parts.shape[:2], *full), x.dtype)
    for at in np.ndindex(*block):
        where = tuple(
            slice(at[i] * dilations[i], at[i] * dilations[i] + steps[i] * strides[i], strides[i])
            for i in range(n)
        )
        # Past the last start there may be less than a whole stride left.
        where = tuple(slice(s.start, s.start + (steps[i] - 1) * strides[i] + 1, s.step)
                      for i, s in enumerate(where))  # fmt: skip
        out = out.at[(slice(None), slice(None), *where)].add(parts[(slice(None), slice(None), *at)])
    return out[(slice(None), slice(None), *(slice(pads[i], pads[i] + image[i]) for i in range(n)))]


@rule("NonMaxSuppression", host="boxes scores most overlap least")
def non_max_suppression(
    boxes: Any,
    scores: Any,
    most: Any = None,
    overlap: Any = None,
    least: Any = None,
    *,
    ctx: Any,
    center_point_box: int = 0,
) -> Any:
    """[selected, 3]: batch, class and box of those that overlap no better one too much."""
    limit = 0 if most is None else int(np.asarray(most).reshape(()))
    threshold = 0.0 if overlap is None else float(np.asarray(overlap).reshape(()))
    floor = -np.inf if least is None else float(np.asarray(least).reshape(()))
    corners = _corners(np.asarray(boxes, np.float64), bool(center_point_box))
    found = [
        (n, c, i)
        for n in range(scores.shape[0])
        for c in range(scores.shape[1])
        for i in _kept(corners[n], scores[n, c], limit, threshold, floor)
    ]
    return ctx.tensor(np.array(found, np.int64).reshape(-1, 3))


def _corners(boxes: Any, centred: bool) -> Any:
    """[..., 4] as least and greatest coordinates."""
    a, b = boxes[..., :2], boxes[..., 2:]
    if centred:
        return np.concatenate([a - b / 2, a + b / 2], -1)
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], -1)


def _kept(boxes: Any, scores: Any, limit: int, threshold: float, floor: float) -> list[int]:
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if len(kept) >= limit or scores[i] <= floor:
            break
        shared = np.minimum(boxes[i, 2:], boxes[kept, 2:]) - np.maximum(
            boxes[i, :2], boxes[kept, :2]
        )
        common = np.prod(np.clip(shared, 0, None), 1)
        if np.all(common <= threshold * (areas[i] + areas[kept] - common)):
            kept.append(int(i))
    return kept
