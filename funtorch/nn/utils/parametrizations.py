"""Ready parametrizations: weight_norm, spectral_norm, orthogonal."""

from __future__ import annotations

from typing import Any

from funtorch.grad_mode import no_grad
from funtorch.nn import functional as F
from funtorch.nn.module import Module
from funtorch.nn.utils import parametrize
from funtorch.ops._declare import TABLE
from funtorch.ops.linalg_decompositions import linalg_qr
from funtorch.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def norm_except(v: Tensor, dim: int) -> Tensor:
    """Norms of the slices along `dim` (of everything for -1), with the other dimensions kept."""
    if dim == -1:
        return v.norm()
    d = dim % v.ndim
    rest = [i for i in range(v.ndim) if i != d]
    return TABLE["linalg_vector_norm"].facade(v, 2, rest, True)


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(magnitude, direction)"""
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Magnitude and direction of a weight learn apart (Salimans and Kingma, 2016)."""
    return parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                "Dimension out of range (expected to be in range of "
                f"[-{weight.ndim}, {weight.ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps = dim if dim >= 0 else dim + weight.ndim, eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight)
            rows, columns = matrix.shape
            for name, size in (("_u", rows), ("_v", columns)):
                start = matrix.new_empty(size).normal_(0, 1).detach()
                self.register_buffer(name, F.normalize(start, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        if self.dim:
            weight = weight.permute(self.dim, *(d for d in range(weight.ndim) if d != self.dim))
        return weight.flatten(1)

    @no_grad()
    def _iterate(self, matrix: Tensor, count: int) -> None:
        for _ in range(count):
            self._u.copy_(F.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
            self._v.copy_(F.normalize(matrix.mH.mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        return weight / u.vdot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """What is set is kept as it is."""
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """A weight divided by its largest singular value (Miyato et al., 2018)."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        transposed = getattr(module, "transposed", False)
        dim = 1 if transposed else 0
    made = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return parametrize.register_parametrization(module, name, made)


class _Orthogonal(Module):
    base: Tensor

    def __init__(self, weight: Tensor, how: str, trivialised: bool) -> None:
        super().__init__()
        if weight.is_complex() and how == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.how = how
        if trivialised:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.shape[-2] < x.shape[-1]
        a = x.mT if wide else x
        n, k = a.shape[-2:]
        if self.how == "householder":
            tril = a.tril(-1)
            tau = 2.0 / (1.0 + (tril * tril).sum(-2))
            q = TABLE["orgqr"].facade(tril, tau)
            q = q * a.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        else:
            a = a.tril()
            if n != k:
                a = TABLE["cat"].facade([a, a.new_zeros(n, n - k).expand(*a.shape[:-2], n, -1)], -1)
            skew = a - a.mH
            if self.how == "matrix_exp":
                q = TABLE["matrix_exp"].facade(skew)
            else:
                eye = TABLE["eye"].facade(n, dtype=skew.dtype, device=skew.device)
                q = TABLE["linalg_solve"].facade(
                    eye.add(skew, alpha=-0.5), eye.add(skew, alpha=0.5)
                )
            q = q[..., :k]
        base = self._buffers.get("base")
        if base is not None:
            q = base @ q
        return q.mT if wide else q

    @no_grad()
    def right_inverse(self, q: Tensor) -> Tensor:
        """Parameters for which the result is (the orthogonal part of) q."""
        if q.shape[-2:].numel() and q.ndim < 2:
            raise ValueError("Expected a matrix or batch of matrices.")
        wide = q.shape[-2] < q.shape[-1]
        a = q.mT if wide else q
        n, k = a.shape[-2:]
        if "base" not in self._buffers:
            if self.how != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False."
                )
            packed, tau = TABLE["geqrf"].facade(a)
            packed.diagonal(dim1=-2, dim2=-1).sign_()
            packed.diagonal(dim1=-2, dim2=-1)[tau == 0.0] *= -1
            return packed.mT if wide else packed
        if n == k:
            base = a.clone()
        else:
            extra = a.new_empty(*a.shape[:-2], n, n - k).normal_()
            base = TABLE["cat"].facade([a, extra], -1)
        found = linalg_qr(base)
        turned = found.Q * found.R.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)
        self.base = turned
        # Minus the identity: the map of 0 is the identity, and PyTorch starts from here.
        start = TABLE["zeros_like"].facade(q)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """A weight with orthonormal rows or columns (Lezcano-Casado, 2019)."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions."
        )
    how = orthogonal_map
    if how is None:
        square = weight.shape[-2] == weight.shape[-1]
        how = "matrix_exp" if square or weight.is_complex() else "householder"
    if how not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
            f"Got: {orthogonal_map}"
        )
    made: Any = _Orthogonal(weight, how, use_trivialization)
    return parametrize.register_parametrization(module, name, made, unsafe=True)
