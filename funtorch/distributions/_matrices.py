"""The few matrix and special functions that distributions need, as private ops."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from funtorch.ops._declare import Array, op


@op(function=False, grad_name="LinalgCholeskyExBackward0")
def _factor(self: Array) -> Array:
    """Lower Cholesky factor; NaN where the matrix is not positive definite. [..., n, n]"""
    return jnp.linalg.cholesky(self)


@op(function=False, grad_name="LinalgSolveTriangularBackward0")
def _solve_lower(lower: Array, right: Array) -> Array:
    """lower^-1 right. [..., n, n], [..., n, m] -> [..., n, m]"""
    shape = jnp.broadcast_shapes(lower.shape[:-2], right.shape[:-2])
    return jax.lax.linalg.triangular_solve(
        jnp.broadcast_to(lower, (*shape, *lower.shape[-2:])),
        jnp.broadcast_to(right, (*shape, *right.shape[-2:])),
        left_side=True,
        lower=True,
    )


@op(function=False, differentiable=False)
def _eigenvalues(self: Array) -> Array:
    """Eigenvalues of a symmetric matrix, ascending. [..., n, n] -> [..., n]"""
    return jnp.linalg.eigvalsh(self)


@op(function=False, grad_name="SpecialI0EBackward0")
def _scaled_bessel0(self: Array) -> Array:
    """I0(x) exp(-|x|), elementwise. [...] -> [...]"""
    return jax.scipy.special.i0e(self)


@op(function=False, grad_name="SpecialI1EBackward0")
def _scaled_bessel1(self: Array) -> Array:
    """I1(x) exp(-|x|), elementwise. [...] -> [...]"""
    return jax.scipy.special.i1e(self)


@op(function=False, grad_name="IgammaBackward0")
def _lower_gamma(self: Array, x: Array) -> Array:
    """Regularised lower incomplete gamma function, elementwise. [...], [...] -> [...]"""
    return jax.scipy.special.gammainc(self, x)
