"""Numerical differences and integrals: gradient, trapezoid."""

from __future__ import annotations

from typing import Any

from funtorch import dtypes
from funtorch.ops._declare import TABLE, composite
from funtorch.ops.view_ops import wrap_dim
from funtorch.tensor import Tensor, dtype_of

# Trapezoids -------------------------------------------------------------------------------------


def _halves(name: str, y: Tensor, x: Any, dx: Any, dim: int) -> tuple[Tensor, Any]:
    """(sums of neighbours, spacing) along the dimension."""
    if dtype_of(y) is dtypes.bool_:
        raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
    d = wrap_dim(dim, y.ndim)
    n = y.shape[d]
    pairs = y.narrow(d, 0, max(n - 1, 0)) + y.narrow(d, min(1, n), max(n - 1, 0))
    if x is None:
        return pairs, 1.0 if dx is None else dx
    if dtype_of(x) is dtypes.bool_:
        raise RuntimeError(f"{name}: received a bool input for `x`, but bool is not supported")
    if x.ndim == 1 and len(x) != n:
        raise RuntimeError(
            f"{name}: There must be one `x` value for each sample point: {len(x)} and {n}"
        )
    steps = x.diff(dim=0) if x.ndim == 1 else x.diff(dim=d - y.ndim)
    if x.ndim == 1:
        steps = steps.reshape(-1, *(1,) * (y.ndim - d - 1))
    return pairs, steps


@composite(aliases=("trapz",))
def trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral by the trapezoidal rule, over sample points x or steps dx. [..., n] -> [...]"""
    if y.shape[dim] == 0:
        total = y.sum(dim)
        return total if total.dtype.is_floating_point else total.to(dtypes.get_default_dtype())
    pairs, steps = _halves("trapezoid", y, x, dx, dim)
    return (pairs * steps).sum(wrap_dim(dim, y.ndim) - y.ndim) / 2


@composite()
def cumulative_trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """Running integrals by the trapezoidal rule. [..., n] -> [..., n - 1]"""
    pairs, steps = _halves("cumulative_trapezoid", y, x, dx, dim)
    return (pairs * steps).cumsum(wrap_dim(dim, y.ndim) - y.ndim) / 2


# Gradient ---------------------------------------------------------------------------------------


def _spacings(x: Tensor, spacing: Any, dims: list[int]) -> list[Any]:
    if isinstance(spacing, Tensor):
        return [spacing]
    if isinstance(spacing, tuple | list):
        if len(spacing) != len(dims):
            raise RuntimeError(
                "torch.gradient expected spacing to be unspecified, a scalar or a list of length "
                f"equal to 'self.dim() = {x.ndim}', since dim argument is not given, but got a "
                f"list of length {len(spacing)}"
            )
        return list(spacing)
    return [1.0 if spacing is None else spacing] * len(dims)


def _edge(x: Tensor, d: int, h: Any, order: int, last: bool) -> Tensor:
    """One-sided differences at an end: of first order, or exact for parabolas."""
    n = x.shape[d]
    at = [n - 1, n - 2, n - 3] if last else [0, 1, 2]
    sign = -1 if last else 1
    here, near = x.narrow(d, at[0], 1), x.narrow(d, at[1], 1)
    if isinstance(h, Tensor):
        first = h[-1] if last else h[0]
        second = (h[-2] if last else h[1]) if order == 2 else None
    else:
        first = second = h
    if order == 1:
        return sign * (near - here) / first
    far = x.narrow(d, at[2], 1)
    a = -(2 * first + second) / (first * (first + second))
    b = (first + second) / (first * second)
    c = -first / (second * (first + second))
    return sign * (a * here + b * near + c * far)


def _along(x: Tensor, d: int, spacing: Any, order: int) -> Tensor:
    n = x.shape[d]
    steps: Any = spacing
    before, after = x.narrow(d, 0, n - 2), x.narrow(d, 2, n - 2)
    if isinstance(spacing, Tensor) and spacing.ndim:
        steps = spacing.diff()
        shape = (-1, *(1,) * (x.ndim - d - 1))
        left, right = steps[:-1].reshape(shape), steps[1:].reshape(shape)
        here = x.narrow(d, 1, n - 2)
        middle = (
            -right / (left * (left + right)) * before
            + (right - left) / (left * right) * here
            + left / (right * (left + right)) * after
        )
    else:
        middle = (after - before) / (2 * spacing)
    ends = [_edge(x, d, steps, order, last) for last in (False, True)]
    return TABLE["cat"].facade([ends[0], middle, ends[1]], d)


@composite()
def gradient(
    self: Tensor, *, spacing: Any = None, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Central differences along each dimension, one-sided at the ends. [...] -> [...] for each"""
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    given = range(self.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [wrap_dim(d, self.ndim) for d in given]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {dims[-1]} appears multiple times in the list of dims")
    for d in dims:
        if self.shape[d] <= edge_order:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
    x = self if dtype_of(self).category > 1 else self.to(dtypes.get_default_dtype())
    spacings = _spacings(self, spacing, dims)
    return tuple(_along(x, d, h, edge_order) for d, h in zip(dims, spacings, strict=True))
