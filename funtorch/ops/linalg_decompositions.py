"""torch.linalg: Cholesky, QR, singular values, eigenvalues, LU and LDL."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its parts load when they are first used
from jax import lax

from funtorch.ops._declare import Array, composite, op, return_type
from funtorch.ops._host import host_call
from funtorch.ops._linalg import adjoint, check_info, columns_first, inexact, matrices, square
from funtorch.tensor import Tensor

Pair = tuple[Array, Array]

# Cholesky ---------------------------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _hermitian(a: Array, upper: bool) -> Array:
    """The Hermitian matrix that one triangle holds."""
    lower = jnp.tril(adjoint(a) if upper else a)
    return lower + adjoint(jnp.tril(lower, -1))


@_hermitian.defjvp
def _hermitian_jvp(upper, primals, tangents):  # type: ignore[no-untyped-def]
    """Derivatives count both triangles: gradients are Hermitian, as in PyTorch."""
    return _hermitian(*primals, upper), (tangents[0] + adjoint(tangents[0])) / 2


def _first_bad_minor(a: Array) -> Array:
    """The order of the first leading minor of each matrix that is not positive."""
    n = a.shape[-1]

    def eliminate(k: Any, state: Any) -> Any:
        x, bad = state
        pivot = jnp.real(x[..., k, k])
        bad = jnp.where((bad == 0) & ~(pivot > 0), k + 1, bad)
        safe = jnp.where(pivot > 0, pivot, 1)[..., None, None]
        column = jnp.where((jnp.arange(n) > k)[:, None], x[..., :, k][..., None], 0)
        return x - column * adjoint(column) / safe, bad

    start = (lax.stop_gradient(a), jnp.zeros(a.shape[:-2], jnp.int32))
    return lax.fori_loop(0, n, eliminate, start)[1].astype(jnp.int32)


@op(
    function=False,
    saves=("result",),
    grad_name="LinalgCholeskyExBackward0",
    order=columns_first(0),
)
def _cholesky_ex(self: Array, upper: bool, name: str) -> tuple[Array, Array]:
    square(name, self)
    full = _hermitian(self, upper)
    factor = lax.linalg.cholesky(full, symmetrize_input=False)
    if upper:
        factor = adjoint(factor)
    if not self.size:
        return factor, jnp.zeros(self.shape[:-2], jnp.int32)
    failed = jnp.isnan(factor).any((-1, -2)) if factor.size else jnp.zeros(self.shape[:-2], bool)
    full = lax.stop_gradient(full)
    info = lax.cond(
        failed.any(), lambda: _first_bad_minor(full), lambda: jnp.zeros(failed.shape, jnp.int32)
    )
    return factor, jnp.where(failed, jnp.maximum(info, 1), 0).astype(jnp.int32)


_NOT_POSITIVE = (
    "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {} is not positive-definite)."
)


@composite("linalg", function=False)
def linalg_cholesky_ex(self: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info) with L @ L.mH = self. [..., n, n] -> [..., n, n], [...]"""
    factor, info = _cholesky_ex(self, upper, "linalg.cholesky_ex")
    if check_errors:
        check_info("linalg.cholesky_ex", info, _NOT_POSITIVE)
    return return_type("linalg_cholesky_ex", "L info")(factor, info)


@composite("linalg", function=False)
def linalg_cholesky(self: Tensor, *, upper: bool = False) -> Tensor:
    """L with L @ L.mH = self; raises LinAlgError. [..., n, n] -> [..., n, n]"""
    factor, info = _cholesky_ex(self, upper, "linalg.cholesky")
    check_info("linalg.cholesky", info, _NOT_POSITIVE)
    return factor


@composite("method", out="cast all")
def cholesky(self: Tensor, upper: bool = False) -> Tensor:
    """`torch.linalg.cholesky`. [..., n, n] -> [..., n, n]"""
    factor, info = _cholesky_ex(self, upper, "cholesky")
    check_info("linalg.cholesky", info, _NOT_POSITIVE)
    return factor


# QR ---------------------------------------------------------------------------------------------


def _completed(q: Array, full: Array) -> Array:
    """The columns of `full` beyond those of q, as constants: a basis of what q leaves out."""
    return jnp.concatenate([q, lax.stop_gradient(full[..., q.shape[-1] :])], -1)


def _qr(self: Array, mode: str) -> Pair:
    if mode == "complete" and self.shape[-2] > self.shape[-1]:
        q, r = jnp.linalg.qr(self)
        full, _ = jnp.linalg.qr(lax.stop_gradient(self), mode="complete")
        below = jnp.zeros((*r.shape[:-2], self.shape[-2] - r.shape[-2], r.shape[-1]), r.dtype)
        return _completed(q, full), jnp.concatenate([r, below], -2)
    if self.shape[-2] >= self.shape[-1]:
        return jnp.linalg.qr(self)
    # A wide matrix: the left square part decides Q, so derivatives go through that part.
    n = self.shape[-2]
    q, r = jnp.linalg.qr(self[..., :n])
    return q, jnp.concatenate([r, adjoint(q) @ self[..., n:]], -1)


@op(function=False, saves=("result",), grad_name="LinalgQrBackward0", order=columns_first(0, 1))
def _linalg_qr(self: Array, mode: str, name: str) -> tuple[Array, Array]:
    matrices(name, self)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), "
            "'r', or 'complete'"
        )
    q, r = _qr(self, mode)
    return (jnp.zeros((0,), self.dtype), r) if mode == "r" else (q, r)


@composite("linalg", function=False)
def linalg_qr(self: Tensor, mode: str = "reduced") -> Any:
    """(Q, R) with orthonormal Q and triangular R. [..., m, n] -> [..., m, k], [..., k, n]"""
    return return_type("linalg_qr", "Q R")(*_linalg_qr(self, mode, "linalg.qr"))


@composite("method")
def qr(self: Tensor, some: bool = True) -> Any:
    """`torch.linalg.qr`, complete unless `some`."""
    return return_type("qr", "Q R")(*_linalg_qr(self, "reduced" if some else "complete", "qr"))


@op("method", returns="a tau", differentiable=False, order=columns_first(0), out="cast all")
def geqrf(self: Array) -> tuple[Array, Array]:
    """Householder vectors of the QR decomposition. [..., m, n] -> [..., m, n], [..., k]"""
    matrices("torch.geqrf", self, "input")
    if not self.size:
        return self, jnp.zeros((*self.shape[:-2], min(self.shape[-2:])), self.dtype)
    raw, tau = jnp.linalg.qr(self, mode="raw")
    return jnp.swapaxes(raw, -1, -2), tau


def reflect(a: Array, tau: Array, x: Array, *, reverse: bool, adjoint: bool) -> Array:
    """x multiplied from the left by the Householder reflections in the columns of a.

    reverse: the last reflection first (Q @ x); otherwise the first first (Q.mH @ x, if adjoint).
    """
    rows, count = a.shape[-2], tau.shape[-1]
    if not count:
        return x
    index = jnp.arange(rows)

    def apply(x: Array, k: Any) -> tuple[Array, None]:
        column = lax.dynamic_index_in_dim(a, k, -1, keepdims=False)
        v = jnp.where(index == k, 1, jnp.where(index > k, column, 0)).astype(a.dtype)
        scale = lax.dynamic_index_in_dim(tau, k, -1, keepdims=False)
        scale = jnp.conj(scale) if adjoint else scale
        dots = jnp.einsum("...i,...ij->...j", jnp.conj(v), x)
        return x - scale[..., None, None] * v[..., :, None] * dots[..., None, :], None

    order = jnp.arange(count)
    return lax.scan(apply, x, order[::-1] if reverse else order)[0]


def _check_reflections(name: str, a: Array, tau: Array) -> None:
    inexact(name, a)
    if a.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if a.shape[-2] < a.shape[-1]:
        raise RuntimeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if a.shape[-1] < tau.shape[-1]:
        raise RuntimeError(
            f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    if a.ndim - tau.ndim != 1 or a.shape[:-2] != tau.shape[:-1]:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, equal in the batch "
            f"dimensions, but got tau.shape {list(tau.shape)} and input.shape {list(a.shape)}"
        )
    if a.dtype != tau.dtype:
        raise RuntimeError(f"{name}: tau dtype {tau.dtype} does not match input dtype {a.dtype}")


def _householder_product(self: Array, tau: Array) -> Array:
    _check_reflections("torch.linalg.householder_product", self, tau)
    eye = jnp.broadcast_to(jnp.eye(*self.shape[-2:], dtype=self.dtype), self.shape)
    return reflect(self, tau, eye, reverse=True, adjoint=False)


_of_reflections = op(
    name="_householder_product",
    function=False,
    order=columns_first(),
    grad_name="LinalgHouseholderProductBackward0",
)(_householder_product)
_of_nothing = op(
    name="_empty_householder_product",
    function=False,
    undefined=True,
    order=columns_first(),
    grad_name="LinalgHouseholderProductBackward0",
)(_householder_product)


@composite("method", aliases=("linalg.householder_product",), out="cast all")
def orgqr(self: Tensor, tau: Tensor) -> Tensor:
    """The first n columns of the product of reflections. [..., m, n], [..., k] -> [..., m, n]"""
    found = _of_reflections if self.numel() and tau.numel() else _of_nothing
    return found(self, tau)


@op(function=False, order=columns_first(), grad_name="OrmqrBackward0")
def _ormqr(self: Array, tau: Array, other: Array, left: bool, transpose: bool) -> Array:
    inexact("torch.ormqr", self)
    _check_ormqr(self, tau, other, left)
    x = other if left else adjoint(other)
    flip = transpose if left else not transpose
    out = reflect(self, tau, x, reverse=not flip, adjoint=flip)
    return out if left else adjoint(out)


@composite("method")
def ormqr(
    self: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False
) -> Tensor:
    """The product of Q, held as reflections, with a matrix, from the left or the right."""
    if not tau.numel():
        self, tau = self.detach(), tau.detach()  # as in PyTorch, no reflections have no gradient
    return _ormqr(self, tau, other, bool(left), bool(transpose))


def _check_ormqr(a: Array, tau: Array, other: Array, left: bool) -> None:
    if a.ndim < 2 or other.ndim < 2:
        raise RuntimeError("torch.ormqr: input must have at least 2 dimensions.")
    side = other.shape[-2 if left else -1]
    word = "[-2]" if left else "[-1]"
    if side < tau.shape[-1]:
        raise RuntimeError(
            f"torch.ormqr: other.shape{word} must be greater than or equal to tau.shape[-1]"
        )
    if side != a.shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape{word} must be equal to input.shape[-2]")
    if a.shape[-1] < tau.shape[-1]:
        raise RuntimeError(
            "torch.ormqr: tau.shape[-1] must be less than or equal to input.shape[-1]"
        )
    if a.shape[:-2] != tau.shape[:-1] or a.ndim - tau.ndim != 1:
        raise RuntimeError(
            f"torch.ormqr: Expected batch dimensions of tau to be equal to input.shape[:-2], but "
            f"got {list(tau.shape[:-1])}"
        )
    if a.shape[:-2] != other.shape[:-2]:
        raise RuntimeError(
            "torch.ormqr: Expected batch dimensions of other to be equal to input.shape[:-2], but "
            f"got {list(other.shape[:-2])}"
        )
    for word, x in (("tau", tau), ("other", other)):
        if x.dtype != a.dtype:
            raise RuntimeError(
                f"torch.ormqr: Expected input and {word} to have the same dtype, but {word} has "
                f"dtype {x.dtype} and input has dtype {a.dtype}"
            )


# Singular values --------------------------------------------------------------------------------


@op(function=False, saves=("result",), grad_name="LinalgSvdBackward0", order=columns_first(0, 2))
def _svd(self: Array, full_matrices: bool, name: str) -> tuple[Array, Array, Array]:
    matrices(name, self)
    u, s, vh = jnp.linalg.svd(self, full_matrices=False)
    if full_matrices and self.shape[-1] != self.shape[-2]:
        full_u, _, full_vh = jnp.linalg.svd(lax.stop_gradient(self), full_matrices=True)
        u = _completed(u, full_u)
        vh = jnp.swapaxes(
            _completed(jnp.swapaxes(vh, -1, -2), jnp.swapaxes(full_vh, -1, -2)), -1, -2
        )
    return u, s, vh


def _check_driver(name: str, driver: Any) -> None:
    if driver is not None:
        raise RuntimeError(f"{name}: keyword argument `driver=` is only supported on CUDA inputs")


@composite("linalg", function=False)
def linalg_svd(self: Tensor, full_matrices: bool = True, *, driver: Any = None) -> Any:
    """(U, S, Vh) with self = U @ diag(S) @ Vh. [..., m, n] -> [..., m, k], [..., k], [..., k, n]"""
    _check_driver("torch.linalg.svd", driver)
    found = _svd(self, bool(full_matrices), "linalg.svd")
    return return_type("linalg_svd", "U S Vh")(*found)


@op(function=False, saves=("self",), grad_name="LinalgSvdBackward0")
def _svdvals(self: Array) -> Array:
    matrices("linalg.svdvals", self)
    return jnp.linalg.svd(self, full_matrices=False, compute_uv=False)


@composite("linalg", function=False)
def linalg_svdvals(self: Tensor, *, driver: Any = None) -> Tensor:
    """Singular values, largest first. [..., m, n] -> [..., k]"""
    _check_driver("torch.linalg.svdvals", driver)
    return _svdvals(self)


@composite("method")
def svd(self: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with self = U @ diag(S) @ V.mH."""
    if compute_uv:
        u, s, vh = _svd(self, not some, "linalg.svd")
        return return_type("svd", "U S V")(u, s, vh.mH)
    m, n = self.shape[-2:]
    batch = tuple(self.shape[:-2])
    return return_type("svd", "U S V")(
        self.new_zeros((*batch, m, m)), _svdvals(self), self.new_zeros((*batch, n, n))
    )


# Eigenvalues ------------------------------------------------------------------------------------


@op(function=False, saves=("result",), grad_name="LinalgEighBackward0", order=columns_first(1))
def _eigh(self: Array, uplo: str) -> tuple[Array, Array]:
    square("linalg.eigh", self)
    if uplo.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {uplo}")
    a = _hermitian(self, uplo.upper() == "U")
    vectors, values = lax.linalg.eigh(a, lower=True, symmetrize_input=False)
    return values, vectors


@composite("linalg", function=False)
def linalg_eigh(self: Tensor, UPLO: str = "L") -> Any:
    """(eigenvalues, eigenvectors) of Hermitian matrices, ascending. [..., n, n]"""
    found = _eigh(self, UPLO)
    return return_type("linalg_eigh", "eigenvalues eigenvectors")(*found)


@composite("linalg", function=False)
def linalg_eigvalsh(self: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of Hermitian matrices, ascending. [..., n, n] -> [..., n]"""
    return _eigh(self, UPLO)[0]


@op(function=False, saves=("result",), grad_name="LinalgEigBackward0", order=columns_first(1))
def _eig(self: Array) -> tuple[Array, Array]:
    square("linalg.eig", self)
    return _eig_pairs(self)


@jax.custom_jvp
def _eig_pairs(a: Array) -> Pair:
    values, vectors = jnp.linalg.eig(a)
    return values, vectors


@_eig_pairs.defjvp
def _eig_pairs_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    """Boeddeker et al., On the Computation of Complex-valued Gradients (2017), section 4.4; the
    eigenvectors keep their norm of one, with which LAPACK returns them."""
    values, vectors = _eig_pairs(*primals)
    turned = jnp.linalg.solve(vectors, tangents[0].astype(vectors.dtype) @ vectors)
    gaps = values[..., None, :] - values[..., :, None]
    eye = jnp.eye(values.shape[-1], dtype=bool)
    moved = vectors @ jnp.where(eye, 0, turned / jnp.where(eye, 1, gaps))
    along = jnp.real((jnp.conj(vectors) * moved).sum(-2, keepdims=True))
    slopes = jnp.diagonal(turned, axis1=-2, axis2=-1)
    return (values, vectors), (slopes, moved - vectors * along)


@composite("linalg", function=False, out="cast all")
def linalg_eig(self: Tensor) -> Any:
    """(eigenvalues, eigenvectors) of square matrices, complex. [..., n, n]"""
    return return_type("linalg_eig", "eigenvalues eigenvectors")(*_eig(self))


@composite("linalg", function=False, out="cast all")
def linalg_eigvals(self: Tensor) -> Tensor:
    """Eigenvalues of square matrices, complex. [..., n, n] -> [..., n]"""
    return _eig(self)[0]


# LDL --------------------------------------------------------------------------------------------


def _sytrf(a: np.ndarray, hermitian: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kind = "hetrf" if hermitian and np.iscomplexobj(a) else "sytrf"
    (factor,) = scipy.linalg.get_lapack_funcs((kind,), (a,))
    flat = a.reshape(-1, *a.shape[-2:])
    ld, pivots = np.empty_like(flat), np.zeros(flat.shape[:-1], np.int32)
    infos = np.zeros(len(flat), np.int32)
    for i, matrix in enumerate(flat):
        ld[i], pivots[i], infos[i] = factor(matrix, lower=1)
    return ld.reshape(a.shape), pivots.reshape(a.shape[:-1]), infos.reshape(a.shape[:-2])


@op(function=False, differentiable=False, order=columns_first(0))
def _ldl(self: Array, hermitian: bool, name: str) -> tuple[Array, Array, Array]:
    square(name, self)
    if not self.size:
        zeros = (jnp.zeros(s, jnp.int32) for s in (self.shape[:-1], self.shape[:-2]))
        return self, *zeros
    shape, whole = self.shape, jnp.int32
    # XLA has no LDL; LAPACK's own runs on the host.
    found = host_call(
        lambda a: _sytrf(a, hermitian),
        [(shape, self.dtype), (shape[:-1], whole), (shape[:-2], whole)],
        self,
    )
    ld = jnp.tril(found[0])
    return ld, found[1], found[2]


@composite("linalg", function=False)
def linalg_ldl_factor_ex(
    self: Tensor, *, hermitian: bool = False, check_errors: bool = False
) -> Any:
    """(LD, pivots, info): LAPACK's sytrf. [..., n, n] -> [..., n, n], [..., n], [...]"""
    found = _ldl(self, bool(hermitian), "torch.linalg.ldl_factor_ex")
    if check_errors:
        check_info("torch.linalg.ldl_factor_ex", found[2], "D has a zero on its diagonal ({}).")
    return return_type("linalg_ldl_factor_ex", "LD pivots info")(*found)


@composite("linalg", function=False)
def linalg_ldl_factor(self: Tensor, *, hermitian: bool = False) -> Any:
    """(LD, pivots) of symmetric or Hermitian matrices."""
    found = _ldl(self, bool(hermitian), "torch.linalg.ldl_factor_ex")
    check_info("torch.linalg.ldl_factor_ex", found[2], "D has a zero on its diagonal ({}).")
    return return_type("linalg_ldl_factor", "LD pivots")(found[0], found[1])


def _sytrs(ld: np.ndarray, pivots: np.ndarray, b: np.ndarray, hermitian: bool) -> np.ndarray:
    kind = "hetrs" if hermitian and np.iscomplexobj(ld) else "sytrs"
    (solve,) = scipy.linalg.get_lapack_funcs((kind,), (ld, b))
    batch = np.broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    flat_ld = np.broadcast_to(ld, (*batch, *ld.shape[-2:])).reshape(-1, *ld.shape[-2:])
    flat_p = np.broadcast_to(pivots, (*batch, pivots.shape[-1])).reshape(-1, pivots.shape[-1])
    flat_b = np.broadcast_to(b, (*batch, *b.shape[-2:])).reshape(-1, *b.shape[-2:])
    out = np.empty_like(flat_b)
    for i in range(len(flat_b)):
        out[i] = solve(flat_ld[i], flat_p[i], flat_b[i], lower=1)[0]
    return out.reshape(*batch, *b.shape[-2:])


@op("linalg", function=False, differentiable=False, name="linalg_ldl_solve", order=columns_first())
def ldl_solve(LD: Array, pivots: Array, B: Array, *, hermitian: bool = False) -> Array:
    """X with A @ X = B, for A factored by ldl_factor. [..., n, n], [..., n], [..., n, k]"""
    square("torch.linalg.ldl_solve", LD, "LD")
    if B.ndim < 2:
        raise RuntimeError(
            "torch.linalg.ldl_solve: Expected B to have at least 2 dimensions, but it has "
            f"{B.ndim} dimensions instead"
        )
    if pivots.shape[:-1] != LD.shape[:-2] or pivots.shape[-1] != LD.shape[-1]:
        raise RuntimeError(
            f"torch.linalg.ldl_solve: Expected LD.shape[:-1] and pivots.shape to be the same, but got "
            f"pivots with shape {list(pivots.shape)} instead"
        )
    if not jnp.issubdtype(pivots.dtype, jnp.integer):
        raise RuntimeError(
            f"torch.linalg.ldl_solve: Expected pivots to be integers. Got {pivots.dtype.name}"
        )
    if LD.dtype != B.dtype:
        raise RuntimeError(
            f"torch.linalg.ldl_solve: LD dtype {LD.dtype} does not match b dtype {B.dtype}"
        )
    shape = (*jnp.broadcast_shapes(LD.shape[:-2], B.shape[:-2]), *B.shape[-2:])
    if 0 in shape:
        return jnp.zeros(shape, B.dtype)
    solve = functools.partial(_sytrs, hermitian=hermitian)
    return host_call(lambda *given: (solve(*given),), [(shape, B.dtype)], LD, pivots, B)[0]
