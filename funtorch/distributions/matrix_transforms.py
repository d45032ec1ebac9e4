"""Transforms of vectors and matrices, and transforms applied part by part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from funtorch.distributions import constraints
from funtorch.distributions._facades import torch
from funtorch.distributions._matrices import _factor
from funtorch.distributions._numbers import eps_of, tiny_of
from funtorch.distributions.scalar_transforms import softplus
from funtorch.distributions.transforms import Transform
from funtorch.distributions.utils import tril_matrix_to_vec, vec_to_tril_matrix

__all__ = [
    "CatTransform",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "LowerCholeskyTransform",
    "PositiveDefiniteTransform",
    "StackTransform",
    "StickBreakingTransform",
]


class CorrCholeskyTransform(Transform):
    """Vectors of D(D-1)/2 numbers to Cholesky factors of correlation matrices, by signed sticks."""

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Any) -> Any:
        x = x.tanh()
        eps = eps_of(x)
        r = vec_to_tril_matrix(x.clamp(min=-1 + eps, max=1 - eps), diag=-1)
        left = (1 - r**2).sqrt().cumprod(-1)
        r = r + torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
        return r * _shifted(left, 1.0)

    def _inverse(self, y: Any) -> Any:
        left = _shifted(1 - (y * y).cumsum(-1), 1.0)
        t = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(left, diag=-1).sqrt()
        return (t.log1p() - t.neg().log1p()) / 2

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """From the sticks that are left, and from the tanh."""
        left = 1 - (y * y).cumsum(-1)
        sticks = 0.5 * tril_matrix_to_vec(left, diag=-2).log().sum(-1)
        return sticks - 2 * (x + softplus(-2 * x) - math.log(2.0)).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        """[..., D(D-1)/2] -> [..., D, D]"""
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        n = shape[-1]
        d = round((0.25 + 2 * n) ** 0.5 + 0.5)
        if d * (d - 1) // 2 != n:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return (*shape[:-1], d, d)

    def inverse_shape(self, shape: Any) -> Any:
        """[..., D, D] -> [..., D(D-1)/2]"""
        if len(shape) < 2:
            raise ValueError("Too few dimensions on input")
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


def _shifted(x: Any, first: float) -> Any:
    """Entries moved one to the right along the last dimension. [..., n] -> [..., n]"""
    return torch.cat([torch.full_like(x[..., :1], first), x[..., :-1]], -1)


class StickBreakingTransform(Transform):
    """Real vectors onto the simplex, one dimension up, by breaking pieces off a stick."""

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StickBreakingTransform)

    __hash__ = None  # type: ignore[assignment]

    def _offset(self, x: Any) -> Any:
        n = x.shape[-1]
        return n + 1 - x.new_ones(n).cumsum(-1)

    def _call(self, x: Any) -> Any:
        z = _clipped_sigmoid(x - self._offset(x).log())
        left = (1 - z).cumprod(-1)
        one = torch.ones_like(x[..., :1])
        return torch.cat([z, one], -1) * torch.cat([one, left], -1)

    def _inverse(self, y: Any) -> Any:
        head = y[..., :-1]
        left = (1 - head.cumsum(-1)).clamp(min=tiny_of(y))
        return head.log() - left.log() + self._offset(head).log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Sum over the pieces."""
        x = x - self._offset(x).log()
        return (-x - softplus(-x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        """One more."""
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Any) -> Any:
        """One less."""
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return (*shape[:-1], shape[-1] - 1)


def _clipped_sigmoid(x: Any) -> Any:
    return x.sigmoid().clamp(min=tiny_of(x), max=1.0 - eps_of(x))


class LowerCholeskyTransform(Transform):
    """Square matrices to lower triangular ones with a positive diagonal."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LowerCholeskyTransform)

    __hash__ = None  # type: ignore[assignment]

    def _call(self, x: Any) -> Any:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Any) -> Any:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(Transform):
    """Square matrices to positive definite ones."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PositiveDefiniteTransform)

    __hash__ = None  # type: ignore[assignment]

    def _call(self, x: Any) -> Any:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Any) -> Any:
        return LowerCholeskyTransform().inv(_factor(y))


class CatTransform(Transform):
    """Different transforms for the parts of one dimension."""

    def __init__(
        self,
        tseq: Sequence[Transform],
        dim: int = 0,
        lengths: Sequence[int] | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size=cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        self.dim = dim

    @property
    def event_dim(self) -> int:
        """The deepest part's."""
        return max(t.event_dim for t in self.transforms)

    @property
    def length(self) -> int:
        """Extent of the dimension."""
        return sum(self.lengths)

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with a cache."""
        if self._cache_size == cache_size:
            return self
        return CatTransform(self.transforms, self.dim, self.lengths, cache_size)

    def _parts(self, *values: Any) -> Any:
        if values[0].shape[self.dim] != self.length:
            raise ValueError(
                f"expected {self.length} entries in dimension {self.dim}, "
                f"got {values[0].shape[self.dim]}"
            )
        start = 0
        for transform, length in zip(self.transforms, self.lengths, strict=True):
            yield transform, [v.narrow(self.dim, start, length) for v in values]
            start += length

    def _call(self, x: Any) -> Any:
        return torch.cat([t(part) for t, (part,) in self._parts(x)], self.dim)

    def _inverse(self, y: Any) -> Any:
        return torch.cat([t.inv(part) for t, (part,) in self._parts(y)], self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Side by side, or summed if the dimension is within the event."""
        logs = []
        for transform, (own_x, own_y) in self._parts(x, y):
            own = transform.log_abs_det_jacobian(own_x, own_y)
            if transform.event_dim < self.event_dim:
                extra = self.event_dim - transform.event_dim
                own = own.reshape((*own.shape[: own.ndim - extra], -1)).sum(-1)
            logs.append(own)
        dim = self.dim - x.dim() if self.dim >= 0 else self.dim
        dim += self.event_dim
        return torch.cat(logs, dim) if dim < 0 else sum(logs)

    @property
    def bijective(self) -> bool:
        """All parts are."""
        return all(t.bijective for t in self.transforms)

    @property
    def domain(self) -> Any:
        """Part by part."""
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @property
    def codomain(self) -> Any:
        """Part by part."""
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(Transform):
    """Different transforms for the entries of one dimension."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.dim = dim

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with a cache."""
        if self._cache_size == cache_size:
            return self
        return StackTransform(self.transforms, self.dim, cache_size)

    def _entries(self, *values: Any) -> Any:
        if values[0].shape[self.dim] != len(self.transforms):
            raise ValueError(
                f"expected {len(self.transforms)} entries in dimension {self.dim}, "
                f"got {values[0].shape[self.dim]}"
            )
        for i, transform in enumerate(self.transforms):
            yield transform, [v.select(self.dim, i) for v in values]

    def _call(self, x: Any) -> Any:
        return torch.stack([t(own) for t, (own,) in self._entries(x)], self.dim)

    def _inverse(self, y: Any) -> Any:
        return torch.stack([t.inv(own) for t, (own,) in self._entries(y)], self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Entry by entry."""
        return torch.stack(
            [t.log_abs_det_jacobian(a, b) for t, (a, b) in self._entries(x, y)], self.dim
        )

    @property
    def bijective(self) -> bool:
        """All parts are."""
        return all(t.bijective for t in self.transforms)

    @property
    def domain(self) -> Any:
        """Entry by entry."""
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @property
    def codomain(self) -> Any:
        """Entry by entry."""
        return constraints.stack([t.codomain for t in self.transforms], self.dim)


class CumulativeDistributionTransform(Transform):
    """Through the distribution function onto [0, 1]."""

    bijective = True
    codomain = constraints.unit_interval
    sign = +1

    def __init__(self, distribution: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> Any:
        """The support."""
        return self.distribution.support

    def _call(self, x: Any) -> Any:
        return self.distribution.cdf(x)

    def _inverse(self, y: Any) -> Any:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """The log density."""
        return self.distribution.log_prob(x)

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with a cache."""
        if self._cache_size == cache_size:
            return self
        return CumulativeDistributionTransform(self.distribution, cache_size=cache_size)
