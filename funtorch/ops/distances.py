"""Distances between rows, and covariances."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.ops._declare import TABLE, Array, composite, op
from funtorch.ops._linalg import readable
from funtorch.ops.linalg_decompositions import linalg_qr, linalg_svd
from funtorch.ops.linalg_norms import vector_norm_of
from funtorch.tensor import Tensor, dtype_of


@op(function=False, saves=("self", "x2", "result"), grad_name="CdistBackward0")
def _cdist(self: Array, x2: Array, p: float) -> Array:
    return vector_norm_of(self[..., :, None, :] - x2[..., None, :, :], p, (-1,), False)


@composite()
def cdist(
    x1: Tensor,
    x2: Tensor,
    p: float = 2.0,
    compute_mode: Any = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    """p-norms of all differences of rows. [..., n, d], [..., m, d] -> [..., n, m]"""
    for name, x in (("X1", x1), ("X2", x2)):
        if not x.dtype.is_floating_point:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {x.dtype}")
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    return _cdist(x1, x2, float(p))


@op("functional", name="pdist", saves=("self", "result"))
def _pdist(self: Array, p: float = 2.0) -> Array:
    """p-norms of the differences of all pairs of rows. [n, d] -> [n (n - 1) / 2]"""
    if self.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {self.ndim}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    i, j = np.triu_indices(self.shape[0], 1)
    return vector_norm_of(self[i] - self[j], float(p), (-1,), False)


def _weights(name: str, given: Tensor | None, count: int, whole: bool) -> Tensor | None:
    if given is None:
        return None
    if given.ndim > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions")
    if given.numel() != count:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations ({count})"
        )
    if whole == given.dtype.is_floating_point:
        kind = "integral" if whole else "floating point"
        raise RuntimeError(f"cov(): expected {name} to have {kind} dtype but got {given.dtype}")
    if readable(given) and bool((given < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")
    return given


@composite("method")
def cov(
    self: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """Covariances of the rows. [variables, observations] -> [variables, variables]"""
    if self.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{self.ndim} dimensions"
        )
    if dtype_of(self) is dtypes.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = self.reshape(1, -1) if self.ndim < 2 else self
    count = x.shape[1]
    times = _weights("fweights", fweights, count, True)
    weights = _weights("aweights", aweights, count, False)
    both = times if weights is None else weights if times is None else times * weights
    x = x if dtype_of(x).category > 1 else x.to(dtypes.get_default_dtype())
    if both is None:
        total: Any = count
        mean = x.mean(1, keepdim=True)
    else:
        both = both.reshape(-1)
        total = both.sum()
        mean = (x * both).sum(1, keepdim=True) / total
    if both is not None and weights is not None and correction != 0:
        scale = total - correction * (both * weights.reshape(-1)).sum() / total
    else:
        scale = total - correction
    away = x - mean
    right = (away if both is None else away * both).mH
    scale = scale.clamp_min(0) if isinstance(scale, Tensor) else max(scale, 0)
    return ((away @ right) / scale).squeeze()


@composite("method")
def corrcoef(self: Tensor) -> Tensor:
    """Correlation coefficients of the rows. [variables, observations] -> [variables, variables]"""
    if self.ndim > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{self.ndim} dimensions"
        )
    c = cov(self)
    if c.ndim == 0:
        return c / c
    spread = c.diagonal().real.sqrt() if c.dtype.is_complex else c.diagonal().sqrt()
    c = c / spread.unsqueeze(1) / spread.unsqueeze(0)
    if c.dtype.is_complex:
        return TABLE["complex"].facade(c.real.clamp(-1, 1), c.imag.clamp(-1, 1))
    return c.clamp(-1, 1)


# Low rank -----------------------------------------------------------------------------------------


def _range_finder(a: Tensor, q: int, rounds: int, mean: Any) -> Tensor:
    """An orthonormal basis of what `a` maps to: Halko et al. (2009), algorithm 4.4."""

    def times(x: Tensor) -> Tensor:
        return a @ x if mean is None else a @ x - mean @ x

    def back(x: Tensor) -> Tensor:
        return a.mH @ x if mean is None else a.mH @ x - mean.mH @ x

    start = TABLE["randn"].facade(a.shape[-1], q, dtype=a.dtype, device=a.device)
    basis = linalg_qr(times(start)).Q
    for _ in range(rounds):
        basis = linalg_qr(back(basis)).Q
        basis = linalg_qr(times(basis)).Q
    return basis


@composite()
def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, V) of a low-rank approximation of A - M. [..., m, n] -> [..., m, q], [..., q], ..."""
    q, a = 6 if q is None else q, A
    m, n = A.shape[-2:]
    mean = None if M is None else M.broadcast_to(tuple(A.shape))
    wide = m < n
    if wide:
        a = a.mH
        mean = None if mean is None else mean.mH
    basis = _range_finder(a, q, niter or 0, mean)
    small = basis.mH @ a if mean is None else basis.mH @ (a - mean)
    u, s, vh = linalg_svd(small, full_matrices=False)
    u, v = basis @ u, vh.mH
    return (v, s, u) if wide else (u, s, v)


@composite()
def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components by `svd_lowrank`. [..., m, n] -> [..., m, q], [..., q], [..., n, q]"""
    m, n = A.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)
