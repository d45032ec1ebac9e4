"""torch.masked: reductions and normalisations that leave elements out.

Each fills what the mask leaves out with the value that does not count, and calls the plain function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor, dtype_of

__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "cumprod",
    "cumsum",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "mean",
    "median",
    "norm",
    "normalize",
    "prod",
    "softmax",
    "softmin",
    "std",
    "sum",
    "var",
]


def _op(name: str) -> Callable[..., Any]:
    return TABLE[name].facade


def _converted(input: Tensor, dtype: Any) -> Tensor:
    return input if dtype is None else input.to(dtype)


def _filled(input: Tensor, mask: Tensor | None, value: Any) -> Tensor:
    """input where the mask holds, else value. mask: broadcastable to input"""
    if mask is None:
        return input
    if mask.dtype is not dtypes.bool_:
        raise ValueError(f"expected mask to be boolean but got {mask.dtype}")
    if mask.ndim > input.ndim:
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher)")
    return _op("where")(mask, input, input.new_full((), value))


def _lowest(input: Tensor) -> Any:
    kind = dtype_of(input)
    if kind.is_floating_point:
        return -math.inf
    return False if kind is dtypes.bool_ else _limits(kind).min


def _highest(input: Tensor) -> Any:
    kind = dtype_of(input)
    if kind.is_floating_point:
        return math.inf
    return True if kind is dtypes.bool_ else _limits(kind).max


def _limits(kind: Any) -> Any:
    return np.iinfo(kind.numpy)


def _dims(input: Tensor, dim: Any) -> tuple[int, ...]:
    if dim is None or dim == ():
        return tuple(range(input.ndim))
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(d % max(input.ndim, 1) for d in given)


def _count(input: Tensor, dims: Any, keepdim: bool, mask: Tensor | None) -> Tensor:
    ones = _filled(input.new_ones(input.shape, dtype=dtypes.int64), mask, 0)
    return ones.sum(dims, keepdim=keepdim) if input.ndim else ones


def sum(
    input: Tensor,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The sum of unmasked elements; 0 for none. [...] -> [...]"""
    x = _filled(input, mask, 0)
    return x.sum(_dims(x, dim), keepdim=bool(keepdim), dtype=dtype)


def prod(
    input: Tensor,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The product of unmasked elements; 1 for none. [...] -> [...]"""
    x = _filled(input, mask, 1)
    if dtype is None and dtype_of(x).category < 2:
        dtype = dtypes.int64
    x = _converted(x, dtype)
    for d in sorted(_dims(x, dim), reverse=True):
        x = x.prod(d, keepdim=bool(keepdim))
    return x


def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Running sums of unmasked elements. [...] -> [...]"""
    return _filled(input, mask, 0).cumsum(dim, dtype=dtype or input.dtype)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Running products of unmasked elements. [...] -> [...]"""
    return _filled(input, mask, 1).cumprod(dim, dtype=dtype or input.dtype)


def amax(
    input: Tensor,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The largest unmasked element. [...] -> [...]"""
    x = _converted(input, dtype)
    return _filled(x, mask, _lowest(x)).amax(_dims(x, dim), bool(keepdim))


def amin(
    input: Tensor,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The smallest unmasked element. [...] -> [...]"""
    x = _converted(input, dtype)
    return _filled(x, mask, _highest(x)).amin(_dims(x, dim), bool(keepdim))


def argmax(
    input: Tensor,
    dim: int | None = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Where the largest unmasked element is; in the input's dtype, as PyTorch. [...] -> [...]"""
    x = _converted(input, dtype)
    return _filled(x, mask, _lowest(x)).argmax(dim, bool(keepdim)).to(x.dtype)


def argmin(
    input: Tensor,
    dim: int | None = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Where the smallest unmasked element is; in the input's dtype, as PyTorch. [...] -> [...]"""
    x = _converted(input, dtype)
    return _filled(x, mask, _highest(x)).argmin(dim, bool(keepdim)).to(x.dtype)


def mean(
    input: Tensor,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The mean of unmasked elements; NaN for none. [...] -> [...]"""
    x = _converted(input, dtype)
    total = sum(x, dim, keepdim=keepdim, mask=mask)
    if mask is None:
        return x.mean(_dims(x, dim), bool(keepdim))
    return total / _count(x, _dims(x, dim), bool(keepdim), mask)


def median(
    input: Tensor,
    dim: int = -1,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The median of unmasked elements. [..., n] -> [...]"""
    x = _converted(input, dtype)
    if mask is None:
        return x.median(dim, keepdim).values
    if not dtype_of(x).is_floating_point:
        raise ValueError(f"masked median expects a floating point tensor, got {x.dtype}")
    return _filled(x, mask, math.nan).nanmedian(dim, keepdim).values


def logsumexp(
    input: Tensor,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """log of the sum of exponentials of unmasked elements. [...] -> [...]"""
    x = _converted(input, dtype)
    kind = x.dtype
    x = x if dtype_of(x).category > 1 else x.to(dtypes.get_default_dtype())
    return _filled(x, mask, -math.inf).logsumexp(_dims(x, dim), bool(keepdim)).to(kind)


def logaddexp(
    input: Tensor,
    other: Tensor,
    *,
    dtype: Any = None,
    input_mask: Tensor | None = None,
    other_mask: Tensor | None = None,
) -> Tensor:
    """log(exp(input) + exp(other)) of unmasked elements. [...], [...] -> [...]"""
    first = _filled(_converted(input, dtype), input_mask, -math.inf)
    second = _filled(_converted(other, dtype), other_mask, -math.inf)
    return _op("logaddexp")(first, second)


def norm(
    input: Tensor,
    ord: float | None = 2.0,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The norm of unmasked elements. [...] -> [...]"""
    x = _converted(input, dtype)
    order = 2.0 if ord is None else float(ord)
    neutral = math.inf if order == -math.inf else 0
    vector_norm = _op("linalg_vector_norm")
    return vector_norm(_filled(x, mask, neutral), order, _dims(x, dim), bool(keepdim))


def _spread(
    input: Tensor,
    dim: Any,
    unbiased: bool | None,
    correction: Any,
    keepdim: bool,
    dtype: Any,
    mask: Tensor | None,
) -> Tensor:
    if unbiased is not None and correction is not None:
        raise RuntimeError("Only one of unbiased and correction may be given")
    less = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    x = _converted(input, dtype)
    x = x if dtype_of(x).category > 1 else x.to(dtypes.get_default_dtype())
    dims = _dims(x, dim)
    count = _count(x, dims, True, mask)
    middle = sum(x, dims, keepdim=True, mask=mask) / count
    away = _filled(x - middle, mask, 0)
    squares = away * away.conj()
    total = squares.sum(dims, keepdim=bool(keepdim)) if x.ndim else squares
    freedom = (count if keepdim or not x.ndim else count.reshape(total.shape)) - less
    return total / freedom.clamp_min(0).to(total.dtype)


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The variance of unmasked elements. [...] -> [...]"""
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The standard deviation of unmasked elements. [...] -> [...]"""
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask).sqrt()


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """softmax over unmasked elements; what is masked gets 0. [...] -> [...]"""
    x = _converted(input, dtype)
    return _op("softmax")(_filled(x, mask, -math.inf), dim)


def log_softmax(
    input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """log_softmax over unmasked elements; what is masked gets -inf. [...] -> [...]"""
    x = _converted(input, dtype)
    return _op("log_softmax")(_filled(x, mask, -math.inf), dim)


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """softmax of the negatives of unmasked elements. [...] -> [...]"""
    x = _converted(input, dtype)
    return _op("softmax")(-_filled(x, mask, math.inf), dim)


def normalize(
    input: Tensor,
    ord: float,
    dim: int,
    *,
    eps: float = 1e-12,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Unmasked elements divided by their norm. [...] -> [...]"""
    x = _converted(input, dtype)
    size = norm(x, ord, dim, keepdim=True, mask=mask)
    return _filled(x, mask, 0) / size.clamp_min(eps)
