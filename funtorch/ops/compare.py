"""Comparisons, sorting and searching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.device import device_of
from funtorch.dispatch import lay_out, to_host
from funtorch.ops._declare import Array, Scalar, composite, op, return_type
from funtorch.ops.view_ops import wrap_dim
from funtorch.tensor import Tensor, dtype_of, from_host, size_of


def _comparison(name: str, lower: Callable[[Any, Any], Any], meaning: str, *aliases: str) -> Any:
    def body(self: Array, other: Array | Scalar) -> Array:
        if jnp.iscomplexobj(self) and name not in ("eq", "ne"):
            raise RuntimeError(f"\"{name}_cpu\" not implemented for 'ComplexFloat'")
        return lower(self, other)

    body.__name__ = name
    body.__doc__ = f"{meaning} self, other: [...] -> [...] bool"
    return op(
        "method",
        "inplace",
        promote="arith",
        differentiable=False,
        aliases=aliases,
        layout="pointwise",
    )(body)


eq = _comparison("eq", jnp.equal, "Equal?")
ne = _comparison("ne", jnp.not_equal, "Not equal?", "not_equal")
lt = _comparison("lt", jnp.less, "Less?", "less")
le = _comparison("le", jnp.less_equal, "Less or equal?", "less_equal")
gt = _comparison("gt", jnp.greater, "Greater?", "greater")
ge = _comparison("ge", jnp.greater_equal, "Greater or equal?", "greater_equal")


@op("method", differentiable=False, layout="pointwise")
def isclose(
    self: Array, other: Array, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Array:
    """|self - other| <= atol + rtol * |other|? [...], [...] -> [...] bool"""
    if self.dtype != other.dtype:
        raise RuntimeError(f"{self.dtype} did not match {other.dtype}")
    if rtol < 0 or atol < 0:
        raise RuntimeError("rtol and atol must be greater than or equal to zero")
    if not jnp.issubdtype(self.dtype, jnp.inexact):
        self, other = self.astype(jnp.float64), other.astype(jnp.float64)
    return jnp.isclose(self, other, rtol, atol, equal_nan)


@composite("method")
def allclose(
    self: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Are all elements close? Waits for the answer."""
    return bool(isclose(self, other, rtol, atol, equal_nan).all())


@composite("method")
def equal(self: Tensor, other: Tensor) -> bool:
    """The same shape and elements? Waits for the answer."""
    if dtype_of(self) is not dtype_of(other):
        raise RuntimeError(
            f"Expected object of data type {dtype_of(self)!r} but got data type "
            f"{dtype_of(other)!r} for argument 'other'"
        )
    return size_of(self) == size_of(other) and bool(eq(self, other).all())


@op(function=False, differentiable=False)
def _isin(self: Array, elements: Array, invert: bool) -> Array:
    return jnp.isin(self, elements, invert=invert)


@composite()
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Which elements occur in `test_elements`? [...] -> [...] bool"""
    known = elements if isinstance(elements, Tensor) else test_elements
    where = device_of(known._value.aval.place)
    pair = [
        t if isinstance(t, Tensor) else from_host(np.asarray(t), device=where)
        for t in (elements, test_elements)
    ]
    return _isin(*pair, invert)


# Sorting -------------------------------------------------------------------------------------------


def _order(x: Array, dim: int, descending: bool) -> Array:
    """Stable order, NaN counting as the largest."""
    key = x.astype(jnp.int8) if x.dtype == jnp.bool_ else x
    if descending:
        flipped = jnp.flip(key, dim)
        n = key.shape[dim]
        order = jnp.argsort(flipped, dim, stable=True)
        return jnp.flip(n - 1 - order, dim)
    return jnp.argsort(key, dim, stable=True)


@op(function=False, saves=("self",), grad_name="SortBackward0", layout="pointwise")
def _sort(self: Array, dim: int, descending: bool) -> tuple[Array, Array]:
    if not self.ndim:
        return self, jnp.zeros((), jnp.int64)
    d = wrap_dim(dim, self.ndim)
    order = _order(lax.stop_gradient(self), d, descending)
    return jnp.take_along_axis(self, order, d), order.astype(jnp.int64)


@composite("method")
def sort(
    self: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> Any:
    """Sorted along a dimension, with the indices; always stable. [...] -> ([...], [...])"""
    if dtype_of(self).is_complex:
        raise RuntimeError("Sort currently does not support complex dtypes on CPU")
    return return_type("sort", "values indices")(*_sort(self, dim, descending))


@composite("method")
def argsort(
    self: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Tensor:
    """The indices that sort along a dimension. [...] -> [...]"""
    return _sort(self, dim, descending)[1]


@composite("method")
def msort(self: Tensor) -> Tensor:
    """Sorted along the first dimension."""
    return _sort(self, 0, False)[0]


@op("method", returns="values indices")
def topk(
    self: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Array, Array]:
    """The k largest (or smallest) along a dimension, with indices. [..., n] -> [..., k]"""
    if not self.ndim:
        return self, jnp.zeros((), jnp.int64)
    d = wrap_dim(dim, self.ndim)
    if not 0 <= k <= self.shape[d]:
        raise RuntimeError("selected index k out of range")
    order = lax.slice_in_dim(_order(lax.stop_gradient(self), d, largest), 0, k, axis=d)
    return jnp.take_along_axis(self, order, d), order.astype(jnp.int64)


@op("method", returns="values indices", out="exact apart")
def kthvalue(self: Array, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """The k-th smallest along a dimension, with its index. [..., n] -> [...]"""
    d = wrap_dim(dim, self.ndim)
    if not 1 <= k <= (self.shape[d] if self.ndim else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    if not self.ndim:
        return self, jnp.zeros((), jnp.int64)
    order = _order(lax.stop_gradient(self), d, False)
    index = lax.slice_in_dim(order, k - 1, k, axis=d)
    values = jnp.take_along_axis(self, index, d)
    if not keepdim:
        values, index = jnp.squeeze(values, d), jnp.squeeze(index, d)
    return values, index.astype(jnp.int64)


@op(differentiable=False)
def searchsorted(
    sorted_sequence: Array,
    self: Array | Scalar,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Array | None = None,
) -> Array:
    """Where elements would go into sorted rows. [..., n], [..., m] -> [..., m]"""
    if side not in (None, "left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )
    how = "right" if right or side == "right" else "left"
    rows = sorted_sequence if sorter is None else jnp.take_along_axis(sorted_sequence, sorter, -1)
    kind = jnp.int32 if out_int32 else jnp.int64
    values = jnp.asarray(self)
    if rows.ndim == 1:
        return _halved(rows, values, how == "right").astype(kind)
    if rows.shape[:-1] != values.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            f"dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {list(rows.shape)} and input value tensor {list(values.shape)}"
        )
    return _halved(rows, values, how == "right").astype(kind)


def _halved(rows: Array, values: Array, right: bool) -> Array:
    """Binary search step by step as PyTorch's, which decides where rows are not sorted.

    [n], [...] or [..., n], [..., m] -> places, of the shape of the values
    """
    n = rows.shape[-1]
    if not n:
        return jnp.zeros(values.shape, jnp.int32)

    def halve(_: Any, ends: Any) -> Any:
        low, high = ends
        middle = (low + high) // 2
        if rows.ndim == 1:
            found = rows[middle]
        else:
            found = jnp.take_along_axis(rows, middle, -1, mode="clip")
        beyond = ~(found > values if right else found >= values)
        going = low < high
        return jnp.where(going & beyond, middle + 1, low), jnp.where(going & ~beyond, middle, high)

    low = jnp.zeros(values.shape, jnp.int32)
    return lax.fori_loop(0, n.bit_length(), halve, (low, jnp.full_like(low, n)))[0]


@composite()
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The index of the bucket between boundaries that each element falls into."""
    if len(size_of(boundaries)) != 1:
        raise RuntimeError(
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim("
            f"{len(size_of(boundaries))})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


# Results whose size is data: computed on the host, a barrier ------------------------------------


def _host(self: Tensor, array: Any) -> Tensor:
    return from_host(np.asarray(array), device=device_of(self._value.aval.place))


@composite("method")
def unique(
    self: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements (or slices along `dim`), sorted. A barrier."""
    array = to_host(self)
    if dim is not None:
        dim = wrap_dim(dim, array.ndim)
    values, inverse, counts = np.unique(
        array, return_inverse=True, return_counts=True, axis=dim, equal_nan=False
    )
    shape = array.shape if dim is None else (array.shape[dim],)
    parts = [values]
    if return_inverse:
        parts.append(inverse.reshape(shape).astype(np.int64))
    if return_counts:
        parts.append(counts.astype(np.int64))
    return _made(self, parts, dim)


@composite("method")
def unique_consecutive(
    self: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Runs of equal elements (or slices) reduced to one. A barrier."""
    array = to_host(self)
    flat = array.reshape(-1) if dim is None else np.moveaxis(array, dim, 0)
    n = len(flat)
    new = np.ones(n, bool)
    if n > 1:
        differs = flat[1:] != flat[:-1]
        new[1:] = differs.reshape(n - 1, -1).any(1)
    starts = np.flatnonzero(new)
    values = flat[starts]
    parts = [values if dim is None else np.moveaxis(values, 0, dim)]
    if return_inverse:
        inverse = np.cumsum(new) - 1
        parts.append((inverse.reshape(array.shape) if dim is None else inverse).astype(np.int64))
    if return_counts:
        parts.append(np.diff(np.append(starts, n)).astype(np.int64))
    return _made(self, parts, dim)


def _made(self: Tensor, parts: list[Any], dim: int | None) -> Any:
    """What was found, as tensors; slices along `dim` lie slowest in memory, as in PyTorch."""
    made = tuple(_host(self, p) for p in parts)
    if dim is not None:
        rank = parts[0].ndim
        lay_out(made[0], [dim % rank, *(d for d in range(rank) if d != dim % rank)])
    return made[0] if len(made) == 1 else made


@composite("method")
def bincount(self: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer occurs (or the sum of its weights). A barrier."""
    if dtype_of(self).category != 1:
        raise RuntimeError("bincount only supports integral types")
    if len(size_of(self)) != 1 or (self.numel() and bool((self < 0).any())):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    given = None if weights is None else to_host(weights)
    counts = np.bincount(to_host(self), given, minlength)
    kind = np.int64 if given is None else (given.dtype if given.dtype == np.float32 else np.float64)
    return _host(self, counts.astype(kind))
