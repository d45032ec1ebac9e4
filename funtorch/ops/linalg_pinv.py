"""The pseudo-inverse and least squares, whose derivatives go through it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.dispatch import to_host
from funtorch.ops._declare import Array, Scalar, composite, op, return_type
from funtorch.ops._linalg import adjoint, columns_first, matrices, readable
from funtorch.ops.linalg_solve import is_vector
from funtorch.tensor import Tensor

# Pseudo-inverse ---------------------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _pseudo_inverse(a: Array, atol: Array, rtol: Array, hermitian: bool) -> Array:
    """Singular values up to max(atol, rtol * largest) count as zero. [..., m, n] -> [..., n, m]"""
    if hermitian:
        left, values = lax.linalg.eigh(a, lower=True, symmetrize_input=False)
        right = left
    else:
        left, values, vh = jnp.linalg.svd(a, full_matrices=False)
        right = adjoint(vh)
    size = jnp.abs(values)
    large = size > jnp.maximum(atol, size.max(-1) * rtol)[..., None]
    inverse = jnp.where(large, 1 / jnp.where(large, values, 1), 0).astype(a.dtype)
    return (right * inverse[..., None, :]) @ adjoint(left)


@_pseudo_inverse.defjvp
def _pseudo_inverse_jvp(hermitian, primals, tangents):  # type: ignore[no-untyped-def]
    """Golub and Pereyra (1973), for directions that keep the rank. Products are taken in the
    order that makes the smaller matrices."""
    a, da = primals[0], tangents[0]
    p = _pseudo_inverse(*primals, hermitian)
    da_h, p_h = adjoint(da), adjoint(p)
    if a.shape[-2] <= a.shape[-1]:
        rows, columns = da_h @ (p_h @ p), p @ (p_h @ da_h)
        outside = rows - p @ (a @ rows) + columns - (columns @ a) @ p
    else:
        rows, columns = (da_h @ p_h) @ p, (p @ p_h) @ da_h
        outside = rows - (p @ a) @ rows + columns - columns @ (a @ p)
    return p, outside - p @ da @ p


def default_rtol(x: Tensor, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """(atol, rtol), with PyTorch's defaults for those that are None."""
    if rtol is None:
        default = float(jnp.finfo(x.dtype.numpy).eps) * max(x.shape[-2:])
        if isinstance(atol, Tensor):
            rtol = (atol > 0).logical_not().to(x.real.dtype) * default
        else:
            rtol = 0.0 if atol else default
    return 0.0 if atol is None else atol, rtol


@op(function=False, saves=("self", "result"), grad_name="LinalgPinvBackward0")
def _pinv(self: Array, atol: Array | Scalar, rtol: Array | Scalar, hermitian: bool) -> Array:
    matrices("linalg.pinv", self)
    if not self.size:
        return adjoint(self)
    kind = jnp.real(self).dtype
    return _pseudo_inverse(self, jnp.asarray(atol, kind), jnp.asarray(rtol, kind), hermitian)


@composite("linalg", function=False, out="cast all")
def linalg_pinv(
    self: Tensor,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """The Moore-Penrose inverse. [..., m, n] -> [..., n, m]"""
    if self.ndim < 2:
        raise RuntimeError("linalg.pinv: The input tensor A must have at least 2 dimensions.")
    if rcond is not None and rtol is None:
        atol, rtol = 0.0, rcond
    if not self.numel():
        return self.mH.clone()
    return _pinv(self, *default_rtol(self, atol, rtol), hermitian)


@composite("method", out="cast all")
def pinverse(self: Tensor, rcond: float = 1e-15) -> Tensor:
    """`torch.linalg.pinv` with an older default."""
    return linalg_pinv(self, rcond)


# Least squares ------------------------------------------------------------------------------------


def _least_squares(a: Array, b: Array, rcond: float) -> tuple[Array, Array, Array]:
    """(solution, rank, singular values) of smallest norm, by the singular value decomposition."""
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    large = s > rcond * s[..., :1]
    inverse = jnp.where(large, 1 / jnp.where(large, s, 1), 0).astype(a.dtype)
    solution = adjoint(vh) @ (inverse[..., None] * (adjoint(u) @ b))
    return solution, large.sum(-1), s


def _default_inverse(a: Array) -> Array:
    kind = jnp.real(a).dtype
    rtol = jnp.asarray(jnp.finfo(kind).eps * max(a.shape[-2:]), kind)
    return _pseudo_inverse(a, jnp.zeros((), kind), rtol, False)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _solution(a: Array, b: Array, rcond: float) -> Array:
    return _least_squares(a, b, rcond)[0]


@_solution.defjvp
def _solution_jvp(rcond, primals, tangents):  # type: ignore[no-untyped-def]
    (a, b), (da, db) = primals, tangents
    p, dp = jax.jvp(_default_inverse, (a,), (da,))
    return _solution(a, b, rcond), dp @ b + p @ db


@jax.custom_jvp
def _residuals(a: Array, b: Array, x: Array) -> Array:
    gap = a @ x - b
    return jnp.real(gap * jnp.conj(gap)).sum(-2)


@_residuals.defjvp
def _residuals_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    """At the solution x the residuals do not change with x."""
    (a, b, x), (da, db, _) = primals, tangents
    moved = jnp.conj(a @ x - b) * (da @ x - db)
    return _residuals(a, b, x), 2 * jnp.real(moved).sum(-2)


@op(function=False, grad_name="LinalgLstsqBackward0", order=columns_first())
def _lstsq(
    self: Array, B: Array, rcond: float | None, driver: str
) -> tuple[Array, Array, Array, Array]:
    m, n = self.shape[-2:]
    vector = is_vector(self, B) and self.ndim - 1 == B.ndim
    b = B[..., None] if vector else B
    batch = jnp.broadcast_shapes(self.shape[:-2], b.shape[:-2])
    a = jnp.broadcast_to(self, (*batch, m, n))
    b = jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
    kind = jnp.real(a).dtype
    tolerance = float(jnp.finfo(kind).eps) * max(m, n) if rcond is None else rcond
    solution = _solution(a, b, tolerance)
    rank, s = jnp.zeros((0,), jnp.int64), jnp.zeros((0,), kind)
    if driver != "gels":
        found = _least_squares(lax.stop_gradient(a), lax.stop_gradient(b), tolerance)
        rank, s = found[1], s if driver == "gelsy" else found[2]
    residuals = jnp.zeros((0,), kind)
    if m > n and driver != "gelsy":
        residuals = _residuals(a, b, solution)
    return (solution[..., 0] if vector else solution), residuals, rank.astype(jnp.int64), s


def _check_lstsq(a: Tensor, b: Tensor, driver: str | None) -> None:
    name = "torch.linalg.lstsq"
    if a.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if b.ndim < 1:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: Expected input and other to have the same dtype, but got {a.dtype} and "
            f"{b.dtype}"
        )
    gap = a.ndim - b.ndim
    if not 0 <= gap <= 1:
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1"
        )
    vector = gap == 1
    if b.shape[-1 if vector else -2] != a.shape[-2]:
        raise RuntimeError(
            f"{name}: input.size(-2) should match other.size({-1 if vector else -2})"
        )
    if driver is not None and driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )


@composite("linalg", function=False, out="cast all")
def linalg_lstsq(
    self: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> Any:
    """(solution, residuals, rank, singular_values) of min |self @ X - B|."""
    _check_lstsq(self, B, driver)
    solution, residuals, rank, values = _lstsq(self, B, rcond, driver or "gelsy")
    ranked = driver in ("gelsd", "gelss") and residuals.numel() and readable(rank)
    if ranked and (to_host(rank) < self.shape[-1]).any():
        # LAPACK gives residuals only if no matrix of the batch lacks rank.
        residuals = residuals.new_empty((0,))
    made = return_type("linalg_lstsq", "solution residuals rank singular_values")
    return made(solution, residuals, rank, values.detach())
