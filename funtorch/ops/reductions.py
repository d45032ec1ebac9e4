"""Sums, means, extremes, norms and cumulative ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch import dtypes
from funtorch.ops._declare import TABLE, Array, Scalar, composite, op, return_type
from funtorch.ops._promote import refuse
from funtorch.ops.view_ops import wrap_dim
from funtorch.tensor import Tensor

Ints = Any
Dtype = Any


def all_dims(dim: Ints, ndim: int) -> tuple[int, ...]:
    """All dimensions for None and (); otherwise each counted from the front, once."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    given = dim if isinstance(dim, tuple) else (dim,)
    wrapped = [wrap_dim(d, ndim) for d in given]
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError(f"dim {wrapped[-1]} appears multiple times in the list of dims")
    return tuple(d for d in wrapped if d < ndim)


def _accumulated(x: Array, dtype: Dtype) -> Array:
    """As PyTorch sums: whole numbers as int64."""
    if dtype is not None:
        return x.astype(dtype)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.int64)


@op("method", saves=(), out="dtype")
def sum(
    self: Array, dim: Ints = None, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Array:
    """The sum over some dimensions. [...] -> [...]"""
    return _accumulated(self, dtype).sum(all_dims(dim, self.ndim), keepdims=keepdim)


@op("method", saves=("self",), out="dtype")
def nansum(
    self: Array, dim: Ints = None, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Array:
    """The sum, NaN counting as zero. [...] -> [...]"""
    if dtype is not None and jnp.issubdtype(self.dtype, jnp.inexact):
        refuse("nansum", np.zeros((), dtype), "i", "b")
    x = _accumulated(self, dtype)
    if jnp.iscomplexobj(x):
        raise RuntimeError("nansum does not support complex inputs")
    x = jnp.where(jnp.isnan(x), 0, x) if jnp.issubdtype(x.dtype, jnp.floating) else x
    return x.sum(all_dims(dim, self.ndim), keepdims=keepdim)


def _mean_checked(name: str, x: Array, dtype: Dtype) -> Array:
    x = x if dtype is None else x.astype(dtype)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating "
            f"point or complex dtype. Got: {dtypes.of(x.dtype).name.capitalize()}"
        )
    return x


@op("method", saves=(), out="cast")
def mean(
    self: Array, dim: Ints = None, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Array:
    """The mean over some dimensions. [...] -> [...]"""
    x = _mean_checked("mean", self, dtype)
    axes = all_dims(dim, x.ndim)
    count = math.prod([x.shape[d] for d in axes])  # symbolic under export
    total = x.sum(axes, keepdims=keepdim)
    return jnp.full_like(total, np.nan) if count == 0 else total / count


@op("method", saves=("self",), out="cast")
def nanmean(
    self: Array, dim: Ints = None, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Array:
    """The mean of what is not NaN. [...] -> [...]"""
    x = _mean_checked("nanmean", self, dtype)
    axes, bad = all_dims(dim, x.ndim), jnp.isnan(x)
    count = (~bad).sum(axes, keepdims=keepdim)
    return jnp.where(bad, 0, x).sum(axes, keepdims=keepdim) / count.astype(x.dtype)


@op(function=False, saves=("self",), grad_name="ProdBackward0")
def _prod(self: Array, dim: int | None, keepdim: bool, dtype: Dtype | None) -> Array:
    x = _accumulated(self, dtype)
    return jnp.prod(x, None if dim is None else all_dims(dim, x.ndim), keepdims=keepdim)


@composite("method", out="dtype", autocast=True)
def prod(
    self: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The product of all elements, or along a dimension. [...] -> [...]"""
    return _prod(self, dim, keepdim, dtype)


# Variance ------------------------------------------------------------------------------------------


def _variance(x: Array, axes: tuple[int, ...], correction: float, keepdim: bool) -> Array:
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise RuntimeError("std and var only support floating point and complex dtypes")
    count = float(np.prod([x.shape[d] for d in axes]))
    centred = x - x.mean(axes, keepdims=True)
    squares = jnp.real(centred * jnp.conj(centred)) if jnp.iscomplexobj(x) else centred * centred
    return squares.sum(axes, keepdims=keepdim) / _divisor(count - correction)


def _divisor(n: float) -> float:
    return n if n > 0 else (np.nan if n == 0 else 0.0)


@op(function=False, saves=("self",), grad_name="VarBackward0")
def _var(self: Array, dim: Ints, correction: float, keepdim: bool) -> Array:
    return _variance(self, all_dims(dim, self.ndim), correction, keepdim)


@jax.custom_jvp
def _safe_root(x: Array) -> Array:
    return jnp.sqrt(x)


@_safe_root.defjvp
def _root_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    out = _safe_root(*primals)
    # At zero spread PyTorch's gradient of std is 0, not infinite.
    return out, jnp.where(out == 0, 0, tangents[0] / (2 * jnp.where(out == 0, 1, out)))


@op(function=False, saves=("self", "result"), grad_name="StdBackward0")
def _std(self: Array, dim: Ints, correction: float, keepdim: bool) -> Array:
    return _safe_root(_variance(self, all_dims(dim, self.ndim), correction, keepdim))


def _spread_arguments(dim: Any, unbiased: Any, correction: Any) -> tuple[Any, float]:
    """(dim, correction) of the two signatures: var(dim, unbiased, ...) and var(unbiased)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, float(correction)


def _spread(name: str, facade: Any, with_mean: bool, meaning: str) -> Any:
    def function(
        self: Tensor,
        dim: Any = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
    ) -> Any:
        where, ddof = _spread_arguments(dim, unbiased, correction)
        found = facade(self, where, ddof, keepdim)
        if not with_mean:
            return found
        return found, mean(self, where, keepdim)

    function.__name__ = name
    function.__doc__ = f"{meaning} [...] -> [...]"
    if with_mean:
        return composite(out="cast")(function)
    # PyTorch accumulates in double precision, so that what it returns is correctly rounded.
    return composite("method", out="rounded")(function)


var = _spread("var", _var, False, "The variance.")
std = _spread("std", _std, False, "The standard deviation.")
var_mean = _spread("var_mean", _var, True, "The variance and the mean.")
std_mean = _spread("std_mean", _std, True, "The standard deviation and the mean.")


# Truth -----------------------------------------------------------------------------------------------


def _truth(name: str, lower: Any, meaning: str) -> Any:
    def body(self: Array, dim: Ints = None, keepdim: bool = False) -> Array:
        found = lower(self, axis=all_dims(dim, self.ndim), keepdims=keepdim)
        return found.astype(jnp.uint8) if self.dtype == jnp.uint8 else found

    body.__name__ = name
    body.__doc__ = f"{meaning} [...] -> [...] bool"
    return op("method", differentiable=False)(body)


all = _truth("all", jnp.all, "Are all elements non-zero?")
any = _truth("any", jnp.any, "Is any element non-zero?")


@op("method", differentiable=False)
def count_nonzero(self: Array, dim: Ints = None) -> Array:
    """How many elements are not zero. [...] -> [...] int64"""
    return (self != 0).sum(all_dims(dim, self.ndim)).astype(jnp.int64)


# Extremes ----------------------------------------------------------------------------------------------


def _ordered(name: str, x: Array) -> Array:
    if jnp.iscomplexobj(x):
        raise RuntimeError(f"\"{name}\" not implemented for 'ComplexFloat'")
    return x


def _not_empty(name: str, x: Array, axes: tuple[int, ...]) -> None:
    for d in axes:
        if x.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _some_to_choose(name: str, x: Array, dim: Ints) -> tuple[int, ...]:
    """The dimensions of a choice among elements; there must be some."""
    if dim in (None, ()) and not x.size:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument."
        )
    axes = all_dims(dim, x.ndim)
    _not_empty(name, x, axes)
    return axes


def extreme(x: Array, axes: tuple[int, ...], keepdim: bool, largest: bool) -> Array:
    """max or min, its gradient shared evenly by ties."""
    if x.dtype == jnp.bool_:
        return (jnp.any if largest else jnp.all)(x, axis=axes, keepdims=keepdim)
    return _shared_extreme(x, axes, keepdim, largest)


def _shared_extreme(x: Array, axes: tuple[int, ...], keepdim: bool, largest: bool) -> Array:
    found = lax.stop_gradient((jnp.max if largest else jnp.min)(x, axis=axes, keepdims=True))
    same = (
        (x == found) | (jnp.isnan(x) & jnp.isnan(found))
        if jnp.issubdtype(x.dtype, jnp.inexact)
        else x == found
    )
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return found if keepdim else jnp.squeeze(found, axes)
    return _by_mask(x, same, found, axes, keepdim)


def _by_mask(x: Array, same: Array, found: Array, axes: tuple[int, ...], keepdim: bool) -> Array:
    @jax.custom_jvp
    def pick(x: Array) -> Array:
        return found if keepdim else jnp.squeeze(found, axes)

    @pick.defjvp
    def _(primals, tangents):  # type: ignore[no-untyped-def]
        share = same / same.sum(axes, keepdims=True)
        return pick(*primals), (tangents[0] * share.astype(x.dtype)).sum(axes, keepdims=keepdim)

    return pick(x)


@op("method", saves=("self", "result"))
def amax(self: Array, dim: Ints = (), keepdim: bool = False) -> Array:
    """The largest over some dimensions; ties share the gradient. [...] -> [...]"""
    axes = _some_to_choose("amax", self, dim)
    return extreme(_ordered("amax", self), axes, keepdim, True)


@op("method", saves=("self", "result"))
def amin(self: Array, dim: Ints = (), keepdim: bool = False) -> Array:
    """The smallest over some dimensions; ties share the gradient. [...] -> [...]"""
    axes = _some_to_choose("amin", self, dim)
    return extreme(_ordered("amin", self), axes, keepdim, False)


@op("method", returns="min max")
def aminmax(self: Array, *, dim: int | None = None, keepdim: bool = False) -> tuple[Array, Array]:
    """Smallest and largest, of all or along a dimension. [...] -> ([...], [...])"""
    axes = _some_to_choose("aminmax", self, dim)
    x = _ordered("aminmax", self)
    return extreme(x, axes, keepdim, False), extreme(x, axes, keepdim, True)


def _arg(x: Array, dim: int, largest: bool) -> Array:
    key = x.astype(jnp.int8) if x.dtype == jnp.bool_ else x
    return (jnp.argmax if largest else jnp.argmin)(key, dim).astype(jnp.int64)


@op(function=False, saves=("self",), grad_name="MaxBackward0")
def _along(self: Array, dim: int, keepdim: bool, largest: bool) -> tuple[Array, Array]:
    """Extreme and its index along a dimension; the gradient goes to the index."""
    if not self.ndim:
        return self, jnp.zeros((), jnp.int64)
    d = wrap_dim(dim, self.ndim)
    _not_empty("max" if largest else "min", self, (d,))
    index = jnp.expand_dims(_arg(lax.stop_gradient(_ordered("max", self)), d, largest), d)
    values = jnp.take_along_axis(self, index, d)
    if not keepdim:
        values, index = jnp.squeeze(values, d), jnp.squeeze(index, d)
    return values, index


@op(function=False, saves=("self", "result"), grad_name="MaxBackward1")
def _of_all(self: Array, largest: bool) -> Array:
    axes = _some_to_choose("max" if largest else "min", self, None)
    return extreme(_ordered("max", self), axes, False, largest)


def _three_way(name: str, largest: bool, pairwise: str) -> Any:
    def function(self: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if isinstance(dim, Tensor):
            other = dim
        elif isinstance(dim, bool):
            raise TypeError(f"{name}(): argument 'dim' must be int or a Tensor, not bool")
        if other is not None:
            return TABLE[pairwise].facade(self, other)
        if dim is None:
            return _of_all(self, largest)
        return return_type(name, "values indices")(*_along(self, dim, keepdim, largest))

    function.__name__ = name
    function.__doc__ = f"The {name}imum: of all, along a dimension with indices, or of two tensors."
    return composite("method", out="cast")(function)


max = _three_way("max", True, "maximum")
min = _three_way("min", False, "minimum")


def _arg_of(name: str, largest: bool) -> Any:
    def body(self: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        x = _ordered(name, self)
        if dim is None:
            if not x.size:
                raise IndexError(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                    "Specify the reduction dim with the 'dim' argument."
                )
            index = _arg(x.reshape(-1), 0, largest)
            return index.reshape((1,) * x.ndim) if keepdim else index
        d = wrap_dim(dim, x.ndim)
        if not x.ndim:
            return jnp.zeros((), jnp.int64)
        _not_empty(name, x, (d,))
        index = _arg(x, d, largest)
        return jnp.expand_dims(index, d) if keepdim else index

    body.__name__ = name
    body.__doc__ = f"The index of the {name[3:]}imum, of all or along a dimension."
    return op("method", differentiable=False)(body)


argmax = _arg_of("argmax", True)
argmin = _arg_of("argmin", False)


# Middle values -----------------------------------------------------------------------------------------


@op(function=False, saves=("self",), grad_name="MedianBackward0")
def _median(self: Array, dim: int, keepdim: bool, skip: bool) -> tuple[Array, Array]:
    """The lower middle value; NaN wins unless skipped."""
    if not self.ndim:
        return self, jnp.zeros((), jnp.int64)
    d = wrap_dim(dim, self.ndim)
    _not_empty("median", self, (d,))
    order = jnp.argsort(lax.stop_gradient(self), d, stable=True)
    count = self.shape[d]
    nans = (
        jnp.isnan(self).sum(d, keepdims=True)
        if jnp.issubdtype(self.dtype, jnp.floating)
        else jnp.zeros((), jnp.int64)
    )
    middle = jnp.broadcast_to(
        (count - (nans if skip else 0) - 1) // 2, self.shape[:d] + (1,) + self.shape[d + 1 :]
    )
    if not skip:
        middle = jnp.where(nans > 0, count - nans, middle)
    middle = jnp.maximum(middle, 0)
    index = jnp.take_along_axis(order, middle, d)
    values = jnp.take_along_axis(self, index, d)
    if not keepdim:
        values, index = jnp.squeeze(values, d), jnp.squeeze(index, d)
    return values, index.astype(jnp.int64)


def _middle(name: str, skip: bool) -> Any:
    def function(self: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            if not self.numel():
                return self.new_full((), float("nan"))
            return _median(self.reshape(-1), 0, False, skip)[0]
        return return_type(name, "values indices")(*_median(self, dim, keepdim, skip))

    function.__name__ = name
    function.__doc__ = "The (lower) median, of all or along a dimension with indices."
    return composite("method")(function)


median = _middle("median", False)
nanmedian = _middle("nanmedian", True)


@op("method", returns="values indices", saves=("self",))
def mode(self: Array, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """The most frequent value along a dimension (the smallest of equals), and an index."""
    if not self.ndim:
        return self, jnp.zeros((), jnp.int64)
    d = wrap_dim(dim, self.ndim)
    _not_empty("mode", self, (d,))
    x = jnp.moveaxis(lax.stop_gradient(self), d, -1)
    counts = (x[..., :, None] == x[..., None, :]).sum(-1)
    best = counts == counts.max(-1, keepdims=True)
    big = x.max(-1, keepdims=True)
    value = jnp.where(best, x, big).min(-1, keepdims=True)
    last = x.shape[-1] - 1 - jnp.argmax(jnp.flip(x == value, -1), -1)
    index = jnp.expand_dims(last, d)
    values = jnp.take_along_axis(self, index, d)
    if not keepdim:
        values, index = jnp.squeeze(values, d), jnp.squeeze(index, d)
    return values, index.astype(jnp.int64)


def _quantile(name: str, lower: Any) -> Any:
    def body(
        self: Array,
        q: Array | Scalar,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
    ) -> Array:
        if self.dtype not in (jnp.float32, jnp.float64):
            raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
        x, axis = (self.reshape(-1), 0) if dim is None else (self, wrap_dim(dim, self.ndim))
        x = x.reshape(1) if not x.ndim else x
        found = lower(x, jnp.asarray(q, x.dtype), axis, method=interpolation)
        if keepdim:
            lead = found.ndim - (x.ndim - 1)
            shape = (1,) * self.ndim if dim is None else None
            found = (
                found.reshape(*found.shape[:lead], *shape)
                if shape is not None
                else (jnp.expand_dims(found, lead + axis))
            )
        return found

    body.__name__ = f"_{name}"
    inner = op(function=False, saves=("self", "q"), order=_quantiles_last)(body)

    def function(
        self: Tensor,
        q: Any,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
    ) -> Tensor:
        if isinstance(q, Tensor) and interpolation != "linear":
            q = q.detach()  # only its rank counts
        return inner(self, q, dim, keepdim, interpolation=interpolation)

    function.__name__ = name
    function.__doc__ = "Quantiles of all elements or along a dimension. [...], [k] -> [k, ...]"
    return composite("method")(function)


def _quantiles_last(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
    """PyTorch computes them in the last dimension, and moves that to the front."""
    several = isinstance(args[1], Tensor) and args[1].ndim == 1
    return (*range(1, ndim), 0) if several else None


_quantile("quantile", jnp.quantile)
_quantile("nanquantile", jnp.nanquantile)


# Norms and log-sums ------------------------------------------------------------------------------------


@op("method", promote="float", saves=("self", "result"), aliases=("special.logsumexp",), out="cast")
def logsumexp(self: Array, dim: Ints, keepdim: bool = False) -> Array:
    """log(sum(exp(x))) over some dimensions, without overflow. [...] -> [...]"""
    return jax.scipy.special.logsumexp(self, axis=all_dims(dim, self.ndim), keepdims=keepdim)


# Running totals ------------------------------------------------------------------------------------------


def _running(name: str, lower: Any, saves: tuple[str, ...], meaning: str) -> Any:
    def body(self: Array, dim: int, *, dtype: Dtype | None = None) -> Array:
        x = _accumulated(self, dtype)
        d = wrap_dim(dim, x.ndim)
        return lower(x, axis=d) if x.ndim else x

    body.__name__ = name
    body.__doc__ = f"{meaning} along a dimension. [...] -> [...]"
    return op("method", "inplace", saves=saves, out="dtype")(body)


cumsum = _running("cumsum", jnp.cumsum, (), "Running sums")
cumprod = _running("cumprod", jnp.cumprod, ("self",), "Running products")


@op("method", promote="float", saves=("self", "result"))
def logcumsumexp(self: Array, dim: int) -> Array:
    """Running log-sums of exponentials along a dimension. [...] -> [...]"""
    d = wrap_dim(dim, self.ndim)
    return lax.cumlogsumexp(self, d) if self.ndim else self


def _running_extreme(name: str, better: Any) -> Any:
    def body(self: Array, dim: int) -> tuple[Array, Array]:
        d = wrap_dim(dim, self.ndim)
        if not self.ndim:
            return self, jnp.zeros((), jnp.int64)
        x = lax.stop_gradient(self)
        shape = [1] * x.ndim
        shape[d] = x.shape[d]
        places = jnp.broadcast_to(jnp.arange(x.shape[d]).reshape(shape), x.shape)

        def join(a: Any, b: Any) -> Any:
            later = better(b[0], a[0])
            if jnp.issubdtype(x.dtype, jnp.floating):
                later = (later & ~jnp.isnan(a[0])) | jnp.isnan(b[0])
            return jnp.where(later, b[0], a[0]), jnp.where(later, b[1], a[1])

        _, index = lax.associative_scan(join, (x, places), axis=d)
        return jnp.take_along_axis(self, index, d), index.astype(jnp.int64)

    body.__name__ = name
    body.__doc__ = "Running extremes along a dimension, with indices. [...] -> ([...], [...])"
    return op("method", returns="values indices", saves=("self",))(body)


cummax = _running_extreme("cummax", jnp.greater_equal)
cummin = _running_extreme("cummin", jnp.less_equal)


@op("method")
def diff(
    self: Array,
    n: int = 1,
    dim: int = -1,
    prepend: Array | None = None,
    append: Array | None = None,
) -> Array:
    """Differences of neighbours along a dimension, n times. [..., k] -> [..., k - n]"""
    if not self.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = wrap_dim(dim, self.ndim)
    parts = [p for p in (prepend, self, append) if p is not None]
    x = jnp.concatenate(parts, d) if len(parts) > 1 else self
    for _ in range(n if n < x.shape[d] else x.shape[d]):
        low, high = lax.slice_in_dim(x, 0, -1, axis=d), lax.slice_in_dim(x, 1, None, axis=d)
        x = high ^ low if x.dtype == jnp.bool_ else high - low
    return x
