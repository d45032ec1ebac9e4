"""torch.linalg: LU, solving, inverses, least squares."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.ops._declare import Array, composite, op, return_type
from funtorch.ops._linalg import (
    adjoint,
    check_info,
    columns_first,
    matrices,
    same_dtype,
    square,
)
from funtorch.tensor import Tensor

Dims = Any

_SINGULAR = (
    "The diagonal element {} is zero, the inversion could not be completed because the input "
    "matrix is singular."
)
_UNSOLVABLE = "The solver failed because the input matrix is singular."


# LU ---------------------------------------------------------------------------------------------


def _zero_pivot(lu: Array) -> Array:
    """LAPACK's info: the first (from one) zero on the diagonal of U, else 0."""
    diagonal = jnp.diagonal(lu, axis1=-2, axis2=-1)
    zero = lax.stop_gradient(diagonal) == 0
    if not zero.shape[-1]:
        return jnp.zeros(zero.shape[:-1], jnp.int32)
    return jnp.where(zero.any(-1), jnp.argmax(zero, -1) + 1, 0).astype(jnp.int32)


def _unpacked(lu: Array) -> tuple[Array, Array]:
    m, n = lu.shape[-2:]
    k = min(m, n)
    lower = jnp.tril(lu[..., :, :k], -1) + jnp.eye(m, k, dtype=lu.dtype)
    return lower, jnp.triu(lu[..., :k, :])


def _permutation_matrix(permutation: Array, dtype: Any) -> Array:
    """P with A = P @ L @ U, for the rows in order `permutation`."""
    return jnp.swapaxes(jax.nn.one_hot(permutation, permutation.shape[-1], dtype=dtype), -1, -2)


def _pivot_order(pivots: Array, rows: int) -> Array:
    return lax.linalg.lu_pivots_to_permutation(pivots.astype(jnp.int32) - 1, rows)


def _factored(name: str, self: Array, pivot: bool) -> tuple[Array, Array, Array]:
    """(LU, pivots from zero, permutation)."""
    matrices(name, self)
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU")
    return lax.linalg.lu(self)


@op(function=False, saves=("result",), grad_name="LinalgLuBackward0")
def _lu_three(self: Array, pivot: bool) -> tuple[Array, Array, Array]:
    packed, _, permutation = _factored("linalg.lu", self, pivot)
    lower, upper = _unpacked(packed)
    return _permutation_matrix(permutation, self.dtype), lower, upper


@composite("linalg", function=False)
def linalg_lu(self: Tensor, *, pivot: bool = True) -> Any:
    """(P, L, U) with self = P @ L @ U. [..., m, n] -> [..., m, m], [..., m, k], [..., k, n]"""
    return return_type("linalg_lu", "P L U")(*_lu_three(self, pivot))


@op(function=False, saves=("result",), grad_name="LinalgLuFactorExBackward0", order=columns_first())
def _lu_factor(self: Array, pivot: bool, name: str) -> tuple[Array, Array, Array]:
    packed, pivots, _ = _factored(name, self, pivot)
    return packed, pivots + 1, _zero_pivot(packed)


_NO_LU = "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero."


@composite("linalg", function=False)
def linalg_lu_factor_ex(self: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info). [..., m, n] -> [..., m, n], [..., k], [...]"""
    found = _lu_factor(self, pivot, "torch.linalg.lu_factor_ex")
    if check_errors:
        check_info("torch.linalg.lu_factor_ex", found[2], _NO_LU)
    return return_type("linalg_lu_factor_ex", "LU pivots info")(*found)


@composite("linalg", function=False)
def linalg_lu_factor(self: Tensor, *, pivot: bool = True) -> Any:
    """(LU, pivots), both factors in one matrix. [..., m, n] -> [..., m, n], [..., k]"""
    packed, pivots, info = _lu_factor(self, pivot, "torch.linalg.lu_factor")
    check_info("torch.linalg.lu_factor_ex", info, _NO_LU)
    return return_type("linalg_lu_factor", "LU pivots")(packed, pivots)


@composite("method", out="any")
def lu(self: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """(LU, pivots[, infos]): the old name of `torch.linalg.lu_factor`."""
    found = _lu_factor(self, pivot, "torch.lu")
    if get_infos:
        return return_type("lu", "LU pivots info")(*found)
    return return_type("lu", "LU pivots")(*found[:2])


@op(function=False, saves=(), grad_name="LuUnpackBackward0")
def _lu_unpack(self: Array, pivots: Array, data: bool, unpack: bool) -> tuple[Array, Array, Array]:
    if pivots.dtype != jnp.int32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            "dtype. Note: this function is intended to be used with the output produced by "
            "torch.linalg.lu_factor"
        )
    nothing = jnp.zeros((0,), self.dtype)
    lower, upper = _unpacked(self) if data else (nothing, nothing)
    if not unpack:
        return nothing, lower, upper
    order = _pivot_order(pivots, self.shape[-2])
    return _permutation_matrix(order, self.dtype), lower, upper


@composite()
def lu_unpack(
    self: Tensor, pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    """(P, L, U) from the packed factors."""
    return return_type("lu_unpack", "P L U")(*_lu_unpack(self, pivots, unpack_data, unpack_pivots))


def _check_lu_solve(name: str, lu: Array, pivots: Array, b: Array, left: bool) -> None:
    square(name, lu, "LU")
    matrices(name, b, "B")
    same_dtype(name, lu, b)
    if pivots.dtype != jnp.int32:
        raise RuntimeError(f"{name}: pivots should be a Tensor of scalar type torch.int32")
    if lu.shape[:-1] != pivots.shape:
        raise RuntimeError(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix"
        )
    if b.shape[-2 if left else -1] != lu.shape[-1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of LU {list(lu.shape)} and B {list(b.shape)}"
        )


def _lu_solved(lu: Array, pivots: Array, b: Array, left: bool, transposed: bool) -> Array:
    if not left:
        flipped = _lu_solved(lu, pivots, adjoint(b), True, not transposed)
        return adjoint(flipped)
    batch = jnp.broadcast_shapes(lu.shape[:-2], b.shape[:-2])
    lu = jnp.broadcast_to(lu, (*batch, *lu.shape[-2:]))
    b = jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
    n = lu.shape[-1]
    order = jnp.broadcast_to(_pivot_order(pivots, n), (*batch, n))
    lower, upper = _unpacked(lu)
    solve = lax.linalg.triangular_solve
    if not transposed:
        b = jnp.take_along_axis(b, order[..., :, None], -2)
        y = solve(lower, b, left_side=True, lower=True, unit_diagonal=True)
        return solve(upper, y, left_side=True, lower=False)
    y = solve(upper, b, left_side=True, lower=False, transpose_a=True, conjugate_a=True)
    z = solve(
        lower, y, left_side=True, lower=True, transpose_a=True, conjugate_a=True, unit_diagonal=True
    )
    return jnp.take_along_axis(z, jnp.argsort(order, -1)[..., :, None], -2)


@op("linalg", function=False, order=columns_first(), name="linalg_lu_solve")
def _linalg_lu_solve(
    self: Array, pivots: Array, B: Array, *, left: bool = True, adjoint: bool = False
) -> Array:
    """X with A @ X = B (or X @ A = B), for A factored by lu_factor."""
    _check_lu_solve("torch.linalg.lu_solve", self, pivots, B, left)
    return _lu_solved(self, pivots, B, left, adjoint)


@op("method", order=columns_first(), grad_name="LinalgLuSolveBackward0")
def lu_solve(self: Array, LU_data: Array, LU_pivots: Array) -> Array:
    """X with A @ X = self, for A factored by lu_factor."""
    _check_lu_solve("torch.lu_solve", LU_data, LU_pivots, self, True)
    return _lu_solved(LU_data, LU_pivots, self, True, False)


# Solving ----------------------------------------------------------------------------------------


def is_vector(a: Array, b: Array) -> bool:
    """Does B hold vectors rather than matrices? PyTorch's rule."""
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])


@op(function=False, grad_name="LinalgSolveExBackward0", order=columns_first())
def _solve(self: Array, B: Array, left: bool, name: str) -> tuple[Array, Array]:
    square(name, self)
    same_dtype(name, self, B)
    vector = is_vector(self, B)
    if vector and not left:
        raise RuntimeError(
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False."
        )
    b = B[..., None] if vector else B
    if b.shape[-2 if left else -1] != self.shape[-1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} ({self.shape[-2]}x{self.shape[-1]} and "
            f"{b.shape[-2]}x{b.shape[-1]})"
        )
    packed, pivots, _ = lax.linalg.lu(self)
    out = _lu_solved(packed, pivots + 1, b, left, False)
    return (out[..., 0] if vector else out), _zero_pivot(packed)


@composite("linalg", function=False)
def linalg_solve_ex(
    self: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> Any:
    """(X, info) with self @ X = B."""
    out, info = _solve(self, B, left, "linalg.solve")
    if check_errors:
        check_info("torch.linalg.solve_ex", info, _UNSOLVABLE)
    return return_type("linalg_solve_ex", "result info")(out, info)


@composite("linalg", function=False)
def linalg_solve(self: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with self @ X = B (X @ self = B). [..., n, n], [..., n, k] -> [..., n, k]"""
    out, info = _solve(self, B, left, "linalg.solve")
    check_info("torch.linalg.solve", info, _UNSOLVABLE)
    return out


@op(function=False, saves=("result",), grad_name="LinalgInvExBackward0", order=columns_first())
def _inv(self: Array, name: str) -> tuple[Array, Array]:
    square(name, self)
    packed, pivots, _ = lax.linalg.lu(self)
    eye = jnp.broadcast_to(jnp.eye(self.shape[-1], dtype=self.dtype), self.shape)
    return _lu_solved(packed, pivots + 1, eye, True, False), _zero_pivot(packed)


@composite("linalg", function=False)
def linalg_inv_ex(self: Tensor, *, check_errors: bool = False) -> Any:
    """(inverse, info). [..., n, n] -> [..., n, n], [...]"""
    out, info = _inv(self, "linalg.inv")
    if check_errors:
        check_info("linalg.inv_ex", info, _SINGULAR)
    return return_type("linalg_inv_ex", "inverse info")(out, info)


@composite("method", aliases=("linalg.inv",))
def inverse(self: Tensor) -> Tensor:
    """The inverse; raises LinAlgError. [..., n, n] -> [..., n, n]"""
    out, info = _inv(self, "linalg.inv")
    check_info("linalg.inv", info, _SINGULAR)
    return out


def _triangular(
    a: Array, b: Array, *, upper: bool, left: bool, unit: bool, transpose: bool = False
) -> Array:
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return lax.linalg.triangular_solve(
        jnp.broadcast_to(a, (*batch, *a.shape[-2:])),
        jnp.broadcast_to(b, (*batch, *b.shape[-2:])),
        left_side=left,
        lower=not upper,
        unit_diagonal=unit,
        transpose_a=transpose,
    )


@op(
    "linalg",
    function=False,
    name="linalg_solve_triangular",
    saves=("self", "result"),
    order=columns_first(),
)
def _solve_triangular(
    self: Array, B: Array, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Array:
    """X with self @ X = B for triangular matrices. [..., n, n], [..., n, k] -> [..., n, k]"""
    name = "linalg.solve_triangular"
    square(name, self)
    same_dtype(name, self, B)
    if B.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor B must have at least 2 dimensions.")
    if B.shape[-2 if left else -1] != self.shape[-1]:
        raise RuntimeError(f"{name}: Incompatible shapes of A and B")
    return _triangular(self, B, upper=upper, left=left, unit=unitriangular)


@op(
    "method",
    returns="solution cloned_coefficient",
    saves=("A", "result"),
    order=columns_first(0, 1),
)
def triangular_solve(
    self: Array, A: Array, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Array, Array]:
    """(X, A) with A @ X = self for triangular A."""
    name = "torch.triangular_solve"
    if self.ndim < 2 or A.ndim < 2:
        word, x = ("b", self) if self.ndim < 2 else ("A", A)
        raise RuntimeError(
            f"{name}: Expected {word} to have at least 2 dimensions, but it has {x.ndim} dimensions instead"
        )
    square(name, A)
    if self.shape[-2] != A.shape[-1]:
        raise RuntimeError(f"{name}: Incompatible matrix sizes for linear solve")
    found = _triangular(A, self, upper=upper, left=True, unit=unitriangular, transpose=transpose)
    batch = jnp.broadcast_shapes(A.shape[:-2], self.shape[:-2])
    return found, jnp.broadcast_to(A, (*batch, *A.shape[-2:]))


def _check_factor(name: str, b: Array, factor: Array) -> None:
    square(name, factor)
    matrices(name, b, "B")
    same_dtype(name, b, factor)
    if b.shape[-2] != factor.shape[-1]:
        raise RuntimeError(
            f"{name}: Incompatible matrix sizes for linear solve: each A matrix is "
            f"{factor.shape[-1]} by {factor.shape[-1]} but each b matrix is {b.shape[-2]} by "
            f"{b.shape[-1]}"
        )


def _cholesky_solved(b: Array, factor: Array, upper: bool) -> Array:
    """Solved with the one triangle; for derivatives, as in PyTorch, the factor counts in both."""
    batch = jnp.broadcast_shapes(b.shape[:-2], factor.shape[:-2])
    b = jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
    full = adjoint(factor) if upper else factor

    def solve(_: Any, b: Array) -> Array:
        lower = jnp.tril(full)
        y = _triangular(lower, b, upper=False, left=True, unit=False)
        return _triangular(adjoint(lower), y, upper=True, left=True, unit=False)

    def solve_transposed(_: Any, b: Array) -> Array:
        return jnp.conj(solve(_, jnp.conj(b)))

    def times(x: Array) -> Array:
        return full @ (adjoint(full) @ x)

    return lax.custom_linear_solve(times, b, solve, solve_transposed)


@op("method", order=columns_first(), out="cast all")
def cholesky_solve(self: Array, L: Array, upper: bool = False) -> Array:
    """X with L @ L.mH @ X = self. [..., n, k], [..., n, n] -> [..., n, k]"""
    _check_factor("cholesky_solve", self, L)
    return _cholesky_solved(self, L, upper)


@op("method", order=columns_first(), out="cast all")
def cholesky_inverse(self: Array, upper: bool = False) -> Array:
    """The inverse of L @ L.mH. [..., n, n] -> [..., n, n]"""
    square("cholesky_inverse", self)
    eye = jnp.broadcast_to(jnp.eye(self.shape[-1], dtype=self.dtype), self.shape)
    return _cholesky_solved(eye, self, upper)


# Tensors as matrices ------------------------------------------------------------------------------


@composite("linalg", function=False, out="cast all")
def linalg_tensorinv(self: Tensor, ind: int = 2) -> Tensor:
    """The inverse with respect to tensordot over the first `ind` dimensions."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    shape = tuple(self.shape)
    rows, columns = shape[:ind], shape[ind:]
    size = 1
    for n in rows:
        size *= n
    if size * size != self.numel():
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {self.numel() // max(size, 1)} != {size}"
        )
    return inverse(self.reshape(size, size)).reshape(*columns, *rows)


@composite("linalg", function=False, out="cast all")
def linalg_tensorsolve(self: Tensor, B: Tensor, dims: Dims = None) -> Tensor:
    """X with tensordot(self, X, X.ndim) = B."""
    if dims is not None:
        moved = [d % self.ndim for d in dims]
        self = self.permute(*[d for d in range(self.ndim) if d not in moved], *moved)
    if tuple(self.shape[: B.ndim]) != tuple(B.shape) and B.numel() ** 2 != self.numel():
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            "prod(self.shape[:other.ndim])"
        )
    rest = tuple(self.shape[B.ndim :])
    size = B.numel()
    if self.numel() != size * size:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {self.numel() // max(size, 1)} != {size}"
        )
    return linalg_solve(self.reshape(size, size), B.reshape(size)).reshape(*rest)
