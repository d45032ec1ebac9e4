"""Norms of vectors and matrices, determinants, ranks, pseudo-inverses, powers and exponentials."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from funtorch import dtypes
from funtorch.ops._declare import TABLE, Array, Dtype, composite, op, return_type
from funtorch.ops._linalg import square
from funtorch.ops.linalg_decompositions import (
    linalg_eigvalsh,
    linalg_svdvals,
)
from funtorch.ops.linalg_pinv import default_rtol
from funtorch.ops.linalg_solve import inverse
from funtorch.ops.reductions import all_dims, extreme
from funtorch.ops.view_ops import diagonal, wrap_dim
from funtorch.tensor import Tensor

Ints = Any

# Vectors ----------------------------------------------------------------------------------------


def vector_norm_of(x: Array, p: float, axes: tuple[int, ...], keepdim: bool) -> Array:
    """The p-norm over some dimensions; its gradient at zero is zero."""
    if p == 0:
        return (x != 0).astype(jnp.real(x).dtype).sum(axes, keepdims=keepdim)
    if p in (float("inf"), float("-inf")):
        return extreme(_absolute(x), axes, keepdim, p > 0)
    if p == 1:
        return _absolute(x).sum(axes, keepdims=keepdim)
    if x.dtype in (jnp.float16, jnp.bfloat16) and p != 2:
        return vector_norm_of(x.astype(jnp.float32), p, axes, keepdim).astype(x.dtype)
    found = _power_norm(x, p, axes)
    return found if keepdim else found.squeeze(axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _power_norm(x: Array, p: float, axes: tuple[int, ...]) -> Array:
    """(sum |x| ** p) ** (1 / p), with dimensions kept."""
    if p == 2:
        squares = jnp.real(x * jnp.conj(x)) if jnp.iscomplexobj(x) else x * x
        return jnp.sqrt(squares.sum(axes, keepdims=True))
    powers = _safe_power(_absolute(x), p).sum(axes, keepdims=True)
    return _safe_power(powers, 1 / p)


@_power_norm.defjvp
def _power_norm_jvp(p, axes, primals, tangents):  # type: ignore[no-untyped-def]
    """PyTorch's formulas, which decide what becomes of second derivatives at zero."""
    x, norm = primals[0], _power_norm(*primals, p, axes)
    if p == 2:
        slope = jnp.where(norm == 0, 0, x / norm)
    else:
        sign, size = TABLE["sgn"].facade.lower(x), _absolute(x)  # type: ignore[attr-defined]
        powers = size ** (p - 1) if p < 2 else size * size ** (p - 2)
        powers = jnp.where(x == 0, 0, powers) if p < 1 else powers
        over = norm ** (1 - p) if p < 1 else jnp.where(norm == 0, 0, 1 / norm ** (p - 1))
        slope = sign * powers * over
    return norm, jnp.real(jnp.conj(slope) * tangents[0]).sum(axes, keepdims=True)


def _absolute(x: Array) -> Array:
    return TABLE["abs"].facade.lower(x)  # type: ignore[attr-defined]


def _safe_power(x: Array, p: float) -> Array:
    """x ** p for x >= 0 with zero gradient at zero."""
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 0.0 if p > 0 else jnp.inf, safe**p).astype(x.dtype)


def _norm_of_vectors(self: Array, p: float, dim: Ints, keepdim: bool, dtype: Dtype | None) -> Array:
    x = self if dtype is None else self.astype(dtype)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{dtypes.of(x.dtype).name.capitalize()}"
        )
    axes = all_dims(dim, x.ndim)
    if p < 0 and any(not x.shape[d] for d in axes):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {p:g} norm on an empty dimension because the "
            "operation does not have an identity"
        )
    return vector_norm_of(x, p, axes, keepdim)


_BACKWARD = "LinalgVectorNormBackward0"
_p_norm = op(name="_vector_norm", function=False, saves=("self", "result"), grad_name=_BACKWARD)(
    _norm_of_vectors
)
_zero_norm = op(name="_zero_norm", function=False, undefined=True, grad_name=_BACKWARD)(
    _norm_of_vectors
)


def _vector_norm(x: Tensor, p: float, dim: Any, keepdim: bool, dtype: Any) -> Tensor:
    found = _zero_norm if p == 0 else _p_norm
    return found(x, p, dim, keepdim, dtype)


@composite("linalg", function=False)
def linalg_vector_norm(
    x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of vectors in some dimensions. [...] -> [...]"""
    return _vector_norm(x, float(ord), dim, keepdim, dtype)


@composite("method")
def norm(
    self: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """The p-norm of all elements, or over some dimensions. [...] -> [...]"""
    if p in ("fro", None):
        p = 2
    if p == "nuc":
        x = self if dtype is None else self.to(dtype)
        return linalg_matrix_norm(x, "nuc", (0, 1) if dim is None else dim, keepdim)
    return _vector_norm(self, float(p), dim, keepdim, dtype)


@op("method", saves=("self", "other"))
def dist(self: Array, other: Array, p: float = 2) -> Array:
    """The p-norm of a difference. -> []"""
    x = self - other
    return vector_norm_of(x, float(p), tuple(range(x.ndim)), False)


@op("method", "inplace")
def renorm(self: Array, p: float, dim: int, maxnorm: float) -> Array:
    """Slices along a dimension scaled down to norm at most maxnorm. [...] -> [...]"""
    if self.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {self.ndim} dimensions")
    d = wrap_dim(dim, self.ndim)
    axes = tuple(i for i in range(self.ndim) if i != d)
    norms = vector_norm_of(self, float(p), axes, True)
    return jnp.where(norms > maxnorm, self * (maxnorm / (norms + 1e-7)), self)


# Matrices ---------------------------------------------------------------------------------------


def _matrix_dims(x: Tensor, dim: Any) -> tuple[int, int]:
    if not isinstance(dim, tuple | list) or len(dim) != 2:
        raise RuntimeError("linalg.matrix_norm: dim must be a 2-tuple.")
    first, second = (wrap_dim(d, x.ndim) for d in dim)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    return first, second


def _matrix_norm(x: Tensor, order: Any, dims: tuple[int, int], keepdim: bool) -> Tensor:
    if isinstance(order, str):
        if order == "fro":
            return linalg_vector_norm(x, 2, dims, keepdim)
        if order != "nuc":
            raise RuntimeError(f"linalg.matrix_norm: Order {order} not supported.")
    elif abs(order) not in (1, 2, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {order} not supported.")
    if order == "nuc" or abs(order) == 2:
        values = linalg_svdvals(x.movedim(dims, (-2, -1)))
        return _kept(_of_singular(values, order), dims, keepdim)
    summed, rest = dims if abs(order) == 1 else dims[::-1]
    sums = linalg_vector_norm(x, 1, summed, True)
    if order > 0 and not sums.shape[rest]:
        found = sums.sum(rest, True)
    else:
        found = sums.amax(rest, True) if order > 0 else sums.amin(rest, True)
    return found if keepdim else found.squeeze(dims)


def _of_singular(values: Tensor, order: Any) -> Tensor:
    if order == "nuc":
        return values.sum(-1)
    if order > 0 and not values.shape[-1]:
        return values.sum(-1)
    return values.amax(-1) if order > 0 else values.amin(-1)


def _kept(found: Tensor, dims: tuple[int, int], keepdim: bool) -> Tensor:
    if keepdim:
        for d in sorted(dims):
            found = found.unsqueeze(d)
    return found


@composite("linalg", function=False)
def linalg_matrix_norm(
    self: Tensor,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """A norm of matrices: 'fro', 'nuc', 1, 2, inf and their negatives. [..., m, n] -> [...]"""
    if self.ndim < 2:
        raise RuntimeError(
            "linalg.matrix_norm: The input tensor A must have at least 2 dimensions."
        )
    _check_inexact("linalg.matrix_norm", self)
    x = self if dtype is None else self.to(dtype)
    return _matrix_norm(x, ord, _matrix_dims(x, dim), keepdim)


def _check_inexact(name: str, x: Tensor) -> None:
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.name}"
        )


@composite("linalg", function=False)
def linalg_norm(
    self: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of vectors (one dimension) or matrices (two). [...] -> [...]"""
    _check_inexact("linalg.norm", self)
    dims = (dim,) if isinstance(dim, int) else None if dim is None else tuple(dim)
    if dims is not None and ord is not None and len(dims) not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}"
        )
    if dims is None and ord is not None and self.ndim not in (1, 2):
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{self.ndim}D."
        )
    if ord is not None and (
        (dims is not None and len(dims) == 2) or (dims is None and self.ndim == 2)
    ):
        return linalg_matrix_norm(self, ord, dims or (0, 1), keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: Order {ord} not supported for vectors.")
    if dims is None and ord is None:
        flat = linalg_vector_norm(self.flatten(), 2, None, False, dtype=dtype)
        return flat.reshape((1,) * self.ndim) if keepdim else flat
    return linalg_vector_norm(self, 2 if ord is None else ord, dims, keepdim, dtype=dtype)


@composite("linalg", function=False, out="cast all")
def linalg_cond(self: Tensor, p: Any = None) -> Tensor:
    """The condition number in a matrix norm (default 2). [..., m, n] -> [...]"""
    if self.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor A must have at least 2 dimensions.")
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        values = linalg_svdvals(self)
        if not values.shape[-1]:
            return values.new_zeros(tuple(values.shape[:-1]))
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    if self.shape[-1] != self.shape[-2]:
        raise RuntimeError(
            "linalg.cond: A must be batches of square matrices, but they are "
            f"{self.shape[-2]} by {self.shape[-1]} matrices"
        )
    if not self.numel():
        return self.new_zeros(tuple(self.shape[:-2])).abs()
    inverse = _inverse_or_infinite(self)
    return linalg_matrix_norm(self, p) * linalg_matrix_norm(inverse, p)


def _inverse_or_infinite(x: Tensor) -> Tensor:
    from_ex = TABLE["linalg_inv_ex"].facade(x)
    singular = (from_ex.info != 0)[..., None, None]
    return from_ex.inverse.masked_fill(singular, math.inf)


def _spectrum(x: Tensor, hermitian: bool) -> Tensor:
    return linalg_eigvalsh(x).abs() if hermitian else linalg_svdvals(x)


@composite("linalg", function=False, out="cast all")
def linalg_matrix_rank(
    self: Tensor,
    tol: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """How many singular values exceed max(atol, rtol * the largest). [..., m, n] -> [...] int64"""
    if self.ndim < 2:
        raise RuntimeError(
            "torch.linalg.matrix_rank: The input tensor input must have at least 2 dimensions."
        )
    for word, given in (("atol", atol), ("rtol", rtol), ("tol", tol)):
        if isinstance(given, Tensor) and given.dtype.is_complex:
            raise RuntimeError(
                f"torch.linalg.matrix_rank: {word} tensor of complex type is not supported."
            )
    if tol is not None:
        atol, rtol = tol, 0.0
    values = _spectrum(self, hermitian)
    if not values.shape[-1]:
        return values.new_zeros(tuple(values.shape[:-1])).long()
    atol, rtol = default_rtol(self, atol, rtol)
    limit = values.amax(-1) * rtol
    if isinstance(atol, Tensor):
        limit = atol.to(limit.dtype).maximum(limit)
    else:
        limit = limit.clamp_min(float(atol))
    return (values > limit.unsqueeze(-1)).sum(-1)


# Determinants, powers ---------------------------------------------------------------------------


@op("method", aliases=("linalg.det",), grad_name="LinalgDetBackward0")
def det(self: Array) -> Array:
    """The determinant. [..., n, n] -> [...]"""
    square("linalg.det", self)
    if not self.shape[-1]:
        return jnp.ones(self.shape[:-2], self.dtype)
    return jnp.linalg.det(self)


@op(function=False, grad_name="LinalgSlogdetBackward0")
def _slogdet(self: Array) -> tuple[Array, Array]:
    square("linalg.slogdet", self)
    found = jnp.linalg.slogdet(self)
    return found[0], found[1]


@composite("linalg", function=False)
def linalg_slogdet(self: Tensor) -> Any:
    """(sign, log |det|). [..., n, n] -> [...], [...]"""
    return return_type("linalg_slogdet", "sign logabsdet")(*_slogdet(self))


@composite("method")
def slogdet(self: Tensor) -> Any:
    """`torch.linalg.slogdet`."""
    return return_type("slogdet", "sign logabsdet")(*_slogdet(self))


@composite("method")
def logdet(self: Tensor) -> Tensor:
    """log det, NaN where the determinant is negative. [..., n, n] -> [...]"""
    sign, size = _slogdet(self)
    if self.dtype.is_complex:
        return sign.log() + size
    return size.masked_fill(sign < 0, math.nan)


@composite("method", aliases=("linalg.matrix_power",), out="cast all")
def matrix_power(self: Tensor, n: int) -> Tensor:
    """The n-th power of square matrices, by squaring. [..., k, k] -> [..., k, k]"""
    if self.ndim < 2:
        raise RuntimeError(
            "linalg.matrix_power: The input tensor A must have at least 2 dimensions."
        )
    if self.shape[-1] != self.shape[-2]:
        raise RuntimeError(
            "linalg.matrix_power: A must be batches of square matrices, but they are "
            f"{self.shape[-2]} by {self.shape[-1]} matrices"
        )
    base = inverse(self) if n < 0 else self
    result, count = None, abs(n)
    while count:
        if count & 1:
            result = base if result is None else result @ base
        count >>= 1
        base = base @ base if count else base
    if result is None:
        eye = TABLE["eye"].facade(self.shape[-1], dtype=self.dtype, device=self.device)
        nothing = self.masked_fill(TABLE["ones_like"].facade(self, dtype=dtypes.bool_), 0)
        return nothing + eye  # on the tape, as PyTorch's
    return result.clone() if result is self else result


@op("method", aliases=("linalg.matrix_exp",), grad_name="LinalgMatrixExpBackward0")
def matrix_exp(self: Array) -> Array:
    """The exponential of square matrices. [..., n, n] -> [..., n, n]"""
    if self.dtype in (jnp.float16, jnp.bfloat16):
        return matrix_exp.lower(self.astype(jnp.float32)).astype(self.dtype)
    square("linalg.matrix_exp", self)
    if not self.size:
        return self
    return jax.scipy.linalg.expm(self, max_squarings=48)


@composite("linalg", function=False)
def linalg_multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices in the cheapest order. -> [m, n]"""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    given = list(tensors)
    _check_chain(given)
    first = given[0].unsqueeze(0) if given[0].ndim == 1 else given[0]
    last = given[-1].unsqueeze(-1) if given[-1].ndim == 1 else given[-1]
    out = _chain([first, *given[1:-1], last])
    if given[0].ndim == 1:
        out = out.squeeze(0)
    return out.squeeze(-1) if given[-1].ndim == 1 else out


def _check_chain(given: list[Tensor]) -> None:
    for i, t in enumerate(given):
        ends = i in (0, len(given) - 1)
        if t.ndim != 2 and not (ends and t.ndim == 1):
            kind = "1D or 2D" if ends else "2D"
            raise RuntimeError(f"multi_dot(): tensor {i} must be {kind} but got {t.ndim}D")
        if t.dtype != given[0].dtype:
            raise RuntimeError("multi_dot(): all tensors must have be the same dtype")
    for i in range(len(given) - 1):
        left, right = given[i].shape[-1], given[i + 1].shape[0]
        if left != right:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(given[i].shape)} and "
                f"{list(given[i + 1].shape)} cannot be multiplied"
            )


def _chain(factors: list[Tensor]) -> Tensor:
    """Dynamic programming over the split points (Cormen et al., Matrix-chain multiplication)."""
    sizes = [f.shape[0] for f in factors] + [factors[-1].shape[1]]
    n = len(factors)
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for span in range(1, n):
        for i in range(n - span):
            j = i + span
            cost[i][j], split[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )

    def multiply(i: int, j: int) -> Tensor:
        if i == j:
            return factors[i]
        return multiply(i, split[i][j]) @ multiply(split[i][j] + 1, j)

    return multiply(0, n - 1)


@composite()
def chain_matmul(*matrices: Tensor) -> Tensor:
    """`torch.linalg.multi_dot` of its arguments."""
    return matrices[0] if len(matrices) == 1 else linalg_multi_dot(matrices)


@composite("linalg", function=False)
def linalg_vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Vandermonde matrices with rising powers. [..., n] -> [..., n, N]"""
    if x.dtype.name == "bool":
        raise RuntimeError("linalg.vander: Expected a non-bool tensor")
    if N is not None and N <= 1:
        raise RuntimeError(f"N must be greater than 1. Got {N}.")
    x = x if x.ndim else x.unsqueeze(0)
    count = x.shape[-1] if N is None else N
    ones = x.new_ones((*x.shape, 1), dtype=x.dtype if x.dtype.category > 1 else dtypes.int64)
    if count == 1:
        return ones
    repeated = x.unsqueeze(-1).expand(*x.shape, count - 1)
    return TABLE["cat"].facade([ones, repeated.cumprod(-1)], -1)


@composite()
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """A Vandermonde matrix, falling powers by default. [n] -> [n, N]"""
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = len(x) if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    kind = x.dtype if x.dtype.category > 1 else dtypes.int64
    powers = TABLE["arange"].facade(count, device=x.device)
    rising = x.to(kind).unsqueeze(-1) ** powers
    return rising if increasing else rising.flip(-1)


@composite("linalg", function=False)
def linalg_vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sum of conj(x) * y along a dimension. [...], [...] -> [...]"""
    _check_inexact("linalg.vecdot", x)
    return (x.conj() * y).sum(dim)


@composite("linalg", function=False)
def linalg_diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices, a view. [..., m, n] -> [..., k]"""
    return diagonal(A, offset, dim1, dim2)
