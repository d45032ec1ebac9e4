"""Histograms over one or several dimensions."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.dispatch import to_host
from funtorch.ops._declare import TABLE, Array, composite, op, return_type
from funtorch.ops._linalg import readable
from funtorch.tensor import Tensor, dtype_of, from_host


@op(function=False, differentiable=False)
def _counted(points: Array, weight: Array | None, edges: list[Array], density: bool) -> Array:
    """points: [n, d], edges: d of [bins + 1] -> [bins, ...]; the last bin includes its end."""
    inside = jnp.ones(points.shape[:1], bool)
    places = []
    for i, edge in enumerate(edges):
        x = points[:, i]
        inside &= (x >= edge[0]) & (x <= edge[-1])
        place = jnp.searchsorted(edge, x, side="right") - 1
        places.append(jnp.clip(place, 0, edge.shape[0] - 2))
    ones = jnp.ones(points.shape[:1], points.dtype) if weight is None else weight
    shape = tuple(e.shape[0] - 1 for e in edges)
    found = jnp.zeros(shape, points.dtype).at[tuple(places)].add(jnp.where(inside, ones, 0))
    if density:
        found = found / found.sum()
        for i, edge in enumerate(edges):
            found = found / jnp.diff(edge).reshape((-1,) + (1,) * (len(edges) - 1 - i))
    return found


def _edges(points: Tensor, bins: Any, limits: Any) -> list[Tensor]:
    count = points.shape[1]
    if isinstance(bins, int):
        bins = [bins] * count
    if len(bins) != count:
        raise RuntimeError(
            f"histogramdd: The size of bins must be equal to the innermost dimension of the input "
            f"tensor, but got {len(bins)} and {count}"
        )
    made = []
    for i, bin_ in enumerate(bins):
        if isinstance(bin_, Tensor):
            made.append(bin_)
            continue
        low, high = _limits(points[:, i], None if limits is None else limits[2 * i : 2 * i + 2])
        made.append(
            TABLE["linspace"].facade(
                low, high, bin_ + 1, dtype=dtype_of(points), device=points.device
            )
        )
    return made


def _limits(x: Tensor, given: Any, margin: float = 0.5) -> tuple[Any, Any]:
    """The range given, or that of the elements; on both sides wider by `margin` if it is a point."""
    if given is not None:
        low, high = map(float, given)
    elif not x.numel():
        low, high = 0.0, 1.0
    elif not readable(x):
        least, most = x.min(), x.max()
        apart = margin * (least == most)
        return least - apart, most + apart
    else:
        low, high = float(x.min()), float(x.max())
    if not (low <= high < float("inf")) or low == -float("inf"):
        raise RuntimeError(f"histogramdd: range [{low}, {high}] is not finite or not ordered")
    return (low - margin, high + margin) if low == high else (low, high)


@composite()
def histogramdd(
    self: Tensor, bins: Any, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """(counts, bin edges) of points in the last dimension. [..., d] -> [bins, ...], d of [bins + 1]"""
    if self.ndim < 2:
        raise RuntimeError("histogramdd: input tensor should have at least 2 dimensions")
    points = self.reshape(-1, self.shape[-1])
    edges = _edges(points, bins, range)
    flat = None if weight is None else weight.reshape(-1)
    found = _counted(points, flat, edges, density)
    return return_type("histogramdd", "hist bin_edges")(found, tuple(edges))


@composite("method")
def histogram(
    self: Tensor, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """(counts, bin edges) of all elements. [...] -> [bins], [bins + 1]"""
    if isinstance(bins, Tensor) and bins.ndim != 1:
        raise RuntimeError("histogramdd: bins tensor should have one dimension")
    if isinstance(bins, Tensor) and dtype_of(bins) is not dtype_of(self):
        raise RuntimeError(
            "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got "
            f"input {self.dtype} and bins {bins.dtype}"
        )
    if weight is not None and weight.shape != self.shape:
        raise RuntimeError(
            "histogramdd: if weight tensor is provided it should have the same shape as the input"
        )
    if weight is not None and weight.dtype != self.dtype:
        raise RuntimeError(
            "histogramdd: if weight tensor is provided, it should have the same dtype"
        )
    if isinstance(bins, int) and bins <= 0:
        raise RuntimeError(f"histogram(): bins must be > 0, but got {bins}")
    points = self.reshape(-1, 1)
    edges = _edges(points, [bins], range)
    flat = None if weight is None else weight.reshape(-1)
    found = _counted(points, flat, edges, density)
    return return_type("histogram", "hist bin_edges")(found, edges[0])


@composite("method")
def histc(self: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """A histogram of `bins` equal bins. A barrier, unless within a transform. -> [bins]"""
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    if not readable(self):
        points = self.reshape(-1, 1)
        low, high = _limits(points, None if min == max else (min, max), 1)
        edges = TABLE["linspace"].facade(low, high, bins + 1, dtype=dtype_of(self))
        return _counted(points, None, [edges], False)
    array = to_host(self).reshape(-1)
    low, high = float(min), float(max)
    if low == high and array.size:
        low, high = float(array.min()), float(array.max())
    if low == high:
        low, high = low - 1, high + 1
    if low > high:
        raise RuntimeError("max must be larger than min")
    counts, _ = np.histogram(array.astype(np.float64), bins, (low, high))
    return from_host(counts.astype(array.dtype), device=self.device)
