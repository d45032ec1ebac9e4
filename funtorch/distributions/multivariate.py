"""Vectors and matrices: multivariate normal, Wishart, LKJ."""

from __future__ import annotations

import math
from typing import Any

from funtorch.distributions import constraints
from funtorch.distributions._facades import torch
from funtorch.distributions._matrices import _factor, _solve_lower
from funtorch.distributions._numbers import length, tiny_of
from funtorch.distributions.continuous import standard_normal
from funtorch.distributions.distribution import Distribution, ExponentialFamily
from funtorch.distributions.gammas import Beta, Gamma
from funtorch.distributions.utils import lazy_property, vec_to_tril_matrix
from funtorch.grad_mode import no_grad
from funtorch.tensor import Tensor

__all__ = ["LKJCholesky", "LowRankMultivariateNormal", "MultivariateNormal", "Wishart"]

_LOG_2PI = math.log(2 * math.pi)


def batch_mv(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix times vector. [..., n, m], [..., m] -> [..., n]"""
    return torch.matmul(matrix, vector.unsqueeze(-1)).squeeze(-1)


def solve_lower(lower: Tensor, right: Tensor) -> Tensor:
    """lower^-1 right. [..., n, n], [..., n, m] -> [..., n, m]"""
    return _solve_lower(lower, right)


def batch_mahalanobis(lower: Tensor, x: Tensor) -> Tensor:
    """x' (L L')^-1 x. [..., n, n], [..., n] -> [...]"""
    n = x.shape[-1]
    shape = torch.broadcast_shapes(x.shape[:-1], lower.shape[:-2])
    solved = solve_lower(lower.expand((*shape, n, n)), x.expand((*shape, n)).unsqueeze(-1))
    return solved.squeeze(-1).pow(2).sum(-1)


def half_log_det(lower: Tensor) -> Tensor:
    """Sum of the logarithms of the diagonal. [..., n, n] -> [...]"""
    return lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def precision_to_scale_tril(precision: Tensor) -> Tensor:
    """Cholesky factor of the inverse. [..., n, n] -> [..., n, n]"""
    flipped = _factor(precision.flip((-2, -1)))
    inverse_factor = flipped.flip((-2, -1)).mT
    eye = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return solve_lower(inverse_factor, eye.expand(precision.shape))


class _GivenByMatrix(Distribution):
    """One of covariance_matrix, precision_matrix and scale_tril is given."""

    _unbroadcasted_scale_tril: Tensor

    def _factor(self, covariance: Any, precision: Any, scale: Any) -> Tensor:
        """Check that one is given; returns its Cholesky factor."""
        if (covariance is not None) + (scale is not None) + (precision is not None) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril "
                "may be specified."
            )
        given = next(m for m in (covariance, precision, scale) if m is not None)
        if given.dim() < 2:
            raise ValueError(
                "the matrix must be at least two-dimensional, with optional leading "
                "batch dimensions"
            )
        return given

    def _set_factor(self) -> None:
        own = self.__dict__
        if "scale_tril" in own:
            self._unbroadcasted_scale_tril = own["scale_tril"]
        elif "covariance_matrix" in own:
            self._unbroadcasted_scale_tril = _factor(own["covariance_matrix"])
        else:
            self._unbroadcasted_scale_tril = precision_to_scale_tril(own["precision_matrix"])

    def _matrix_shape(self) -> tuple[int, ...]:
        n = self._event_shape[-1]
        return (*self._batch_shape, n, n)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """Cholesky factor of the covariance."""
        return self._unbroadcasted_scale_tril.expand(self._matrix_shape())

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """L L'"""
        lower = self._unbroadcasted_scale_tril
        return torch.matmul(lower, lower.mT).expand(self._matrix_shape())

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """(L L')^-1"""
        lower = self._unbroadcasted_scale_tril
        eye = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
        inverse = solve_lower(lower, eye)
        return torch.matmul(inverse.mT, inverse).expand(self._matrix_shape())


class MultivariateNormal(_GivenByMatrix):
    """Normal vector with mean `loc`."""

    arg_constraints: Any = {  # noqa: RUF012
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support: Any = constraints.real_vector
    has_rsample = True
    _params = ("loc", "covariance_matrix", "precision_matrix", "scale_tril")
    _depths = {  # noqa: RUF012
        "loc": 1,
        "covariance_matrix": 2,
        "precision_matrix": 2,
        "scale_tril": 2,
    }

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = self._factor(covariance_matrix, precision_matrix, scale_tril)
        batch = torch.broadcast_shapes(given.shape[:-2], loc.shape[:-1])
        wide = given.expand((*batch, -1, -1))
        if covariance_matrix is not None:
            self.covariance_matrix = wide
        elif precision_matrix is not None:
            self.precision_matrix = wide
        else:
            self.scale_tril = wide
        self.loc = loc.expand((*batch, -1))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._set_factor()

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        super()._expand_into(new, batch_shape)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Diagonal of the covariance."""
        squared = self._unbroadcasted_scale_tril.pow(2).sum(-1)
        return squared.expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc + L * standard normal."""
        eps = standard_normal(self._extended_shape(sample_shape), self.loc)
        return self.loc + batch_mv(self._unbroadcasted_scale_tril, eps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        lower = self._unbroadcasted_scale_tril
        distance = batch_mahalanobis(lower, value - self.loc)
        return -0.5 * (self._event_shape[0] * _LOG_2PI + distance) - half_log_det(lower)

    def entropy(self) -> Tensor:
        """Entropy."""
        made = 0.5 * self._event_shape[0] * (1.0 + _LOG_2PI) + half_log_det(
            self._unbroadcasted_scale_tril
        )
        return made.expand(self._batch_shape) if self._batch_shape else made


class LowRankMultivariateNormal(Distribution):
    """Normal vector with covariance W W' + diag(D)."""

    arg_constraints: Any = {  # noqa: RUF012
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support: Any = constraints.real_vector
    has_rsample = True
    _params = ("loc", "cov_factor", "cov_diag")
    _depths = {"loc": 1, "cov_factor": 2, "cov_diag": 1}  # noqa: RUF012

    def __init__(
        self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError(
                "cov_factor must be at least two-dimensional, with optional leading "
                "batch dimensions"
            )
        if cov_factor.shape[-2:-1] != event:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {event[0]} x m")
        if cov_diag.shape[-1:] != event:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event}")
        batch = torch.broadcast_shapes(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1])
        self.loc = loc.expand((*batch, -1))
        self.cov_factor = cov_factor.expand((*batch, -1, -1))
        self.cov_diag = cov_diag.expand((*batch, -1))
        self._factor_, self._diag_ = cov_factor, cov_diag
        self._capacitance_tril = _capacitance(cov_factor, cov_diag)
        super().__init__(batch, event, validate_args=validate_args)

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        super()._expand_into(new, batch_shape)
        new._factor_, new._diag_ = self._factor_, self._diag_
        new._capacitance_tril = self._capacitance_tril

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:  # type: ignore[override]
        """Diagonal of the covariance."""
        made = self._factor_.pow(2).sum(-1) + self._diag_
        return made.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """W W' + diag(D)"""
        made = torch.matmul(self._factor_, self._factor_.mT) + self._diag_.diag_embed()
        return made.expand(self._batch_shape + self._event_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """Cholesky factor of the covariance."""
        return _factor(self.covariance_matrix)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """Inverse of the covariance, by Woodbury's identity."""
        scaled = self._factor_.mT / self._diag_.unsqueeze(-2)
        a = solve_lower(self._capacitance_tril, scaled)
        made = self._diag_.reciprocal().diag_embed() - torch.matmul(a.mT, a)
        return made.expand(self._batch_shape + self._event_shape + self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc + W * normal + sqrt(D) * normal."""
        shape = self._extended_shape(sample_shape)
        low = standard_normal((*shape[:-1], self.cov_factor.shape[-1]), self.loc)
        full = standard_normal(shape, self.loc)
        return self.loc + batch_mv(self._factor_, low) + self._diag_.sqrt() * full

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        distance = low_rank_mahalanobis(
            self._factor_, self._diag_, value - self.loc, self._capacitance_tril
        )
        log_det = low_rank_log_det(self._diag_, self._capacitance_tril)
        return -0.5 * (self._event_shape[0] * _LOG_2PI + log_det + distance)

    def entropy(self) -> Tensor:
        """Entropy."""
        log_det = low_rank_log_det(self._diag_, self._capacitance_tril)
        made = 0.5 * (self._event_shape[0] * (1.0 + _LOG_2PI) + log_det)
        return made.expand(self._batch_shape) if self._batch_shape else made


def _capacitance(factor: Tensor, diag: Tensor) -> Tensor:
    """Cholesky factor of I + W' D^-1 W. [..., n, m], [..., n] -> [..., m, m]"""
    inner = torch.matmul(factor.mT / diag.unsqueeze(-2), factor)
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return _factor(inner + eye)


def low_rank_log_det(diag: Tensor, capacitance_tril: Tensor) -> Tensor:
    """log det (W W' + D), by the matrix determinant lemma."""
    return 2 * half_log_det(capacitance_tril) + diag.log().sum(-1)


def low_rank_mahalanobis(factor: Tensor, diag: Tensor, x: Tensor, capacitance: Tensor) -> Tensor:
    """x' (W W' + D)^-1 x, by Woodbury's identity."""
    scaled = factor.mT / diag.unsqueeze(-2)
    return (x.pow(2) / diag).sum(-1) - batch_mahalanobis(capacitance, batch_mv(scaled, x))


class Wishart(_GivenByMatrix, ExponentialFamily):
    """Distribution of the scatter matrix of `df` normal vectors."""

    support: Any = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0
    _params = ("df", "covariance_matrix", "precision_matrix", "scale_tril")
    _depths = {"covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2}  # noqa: RUF012

    def __init__(
        self,
        df: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        given = self._factor(covariance_matrix, precision_matrix, scale_tril)
        n = given.shape[-1]
        if not isinstance(df, Tensor):
            df = torch.full((), float(df), dtype=given.dtype, device=given.device)
        batch = torch.broadcast_shapes(given.shape[:-2], df.shape)
        self.df = df.expand(batch)
        if bool((self.df <= n - 1).any()):
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        wide = given.expand((*batch, -1, -1))
        if covariance_matrix is not None:
            self.covariance_matrix = wide
        elif precision_matrix is not None:
            self.precision_matrix = wide
        else:
            self.scale_tril = wide
        self._event_shape = wide.shape[-2:]
        super().__init__(batch, wide.shape[-2:], validate_args=validate_args)
        self._set_factor()
        self._chi2 = self._chi_squares()

    def _chi_squares(self) -> Gamma:
        """Of the squared diagonal of Bartlett's factor: df, df - 1, ... degrees of freedom."""
        n = self._event_shape[-1]
        steps = torch.arange(
            n,
            dtype=self._unbroadcasted_scale_tril.dtype,
            device=self._unbroadcasted_scale_tril.device,
        )
        df = self.df.unsqueeze(-1) - steps.expand((*self.df.shape, -1))
        return Gamma(df * 0.5, 0.5)

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        new._event_shape = self._event_shape
        super()._expand_into(new, batch_shape)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        new._chi2 = new._chi_squares()

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """More degrees of freedom than the dimension less one."""
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self._event_shape[-1] - 1),
        }

    @property
    def mean(self) -> Tensor:
        """df times the covariance."""
        return self.df.reshape((*self._batch_shape, 1, 1)) * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        """Mode; NaN where df is too small."""
        factor = (self.df - self._event_shape[-1] - 1).masked_fill(
            self.df <= self._event_shape[-1] + 1, math.nan
        )
        return factor.reshape((*self._batch_shape, 1, 1)) * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        """Variance of each entry."""
        v = self.covariance_matrix
        diag = v.diagonal(dim1=-2, dim2=-1)
        outer = diag.unsqueeze(-1) * diag.unsqueeze(-2)
        return self.df.reshape((*self._batch_shape, 1, 1)) * (v.pow(2) + outer)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Bartlett's decomposition."""
        chi = self._chi2.rsample(sample_shape).sqrt()
        n = self._event_shape[-1]
        below = standard_normal((*sample_shape, *self._batch_shape, n * (n - 1) // 2), chi)
        bartlett = vec_to_tril_matrix(below, diag=-1) if n > 1 else torch.zeros_like(chi[..., None])
        factor = self._unbroadcasted_scale_tril @ (bartlett + chi.diag_embed())
        return factor @ factor.mT

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        nu, p = self.df, self._event_shape[-1]
        lower = self._unbroadcasted_scale_tril
        eye = torch.eye(p, dtype=value.dtype, device=value.device)
        # Through the product, so that all entries of the factor get PyTorch's gradient.
        again = _factor(torch.matmul(lower, lower.mT))
        inverse = solve_lower(again, eye.expand(lower.shape))
        trace = (torch.matmul(inverse.mT, inverse) * value).sum((-2, -1))
        log_det = 2 * half_log_det(_factor(value))
        return (
            -nu * (p * math.log(2) / 2 + half_log_det(lower))
            - _mvlgamma(nu / 2, p)
            + (nu - p - 1) / 2 * log_det
            - trace / 2
        )

    def entropy(self) -> Tensor:
        """Entropy."""
        nu, p = self.df, self._event_shape[-1]
        steps = torch.arange(p, dtype=nu.dtype, device=nu.device) / 2
        digammas = (nu.unsqueeze(-1) / 2 - steps).digamma().sum(-1)
        lower = self._unbroadcasted_scale_tril
        return (
            (p + 1) * (p * math.log(2) / 2 + half_log_det(lower))
            + _mvlgamma(nu / 2, p)
            - (nu - p - 1) / 2 * digammas
            + nu * p / 2
        )

    @property
    def _natural_params(self) -> tuple[Tensor, Tensor]:
        return 0.5 * self.df, -0.5 * self.precision_matrix

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        p = y.shape[-1]
        return x * (-2 * half_log_det(_factor(-2 * y)) + p * math.log(4)) + _mvlgamma(x, p)


def _mvlgamma(x: Tensor, p: int) -> Tensor:
    """Logarithm of the multivariate gamma function. [...] -> [...]"""
    steps = torch.arange(p, dtype=x.dtype, device=x.device) / 2
    return (x.unsqueeze(-1) - steps).lgamma().sum(-1) + p * (p - 1) / 4 * math.log(math.pi)


class LKJCholesky(Distribution):
    """Cholesky factors of correlation matrices, with density by the power of the determinant."""

    arg_constraints: Any = {"concentration": constraints.positive}  # noqa: RUF012
    support: Any = constraints.corr_cholesky
    _params = ("concentration",)

    def __init__(
        self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        if dim < 2:
            raise ValueError(
                f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}."
            )
        if not isinstance(concentration, Tensor):
            concentration = torch.full((), float(concentration))
        self.dim, self.concentration = dim, concentration
        super().__init__(concentration.shape, (dim, dim), validate_args=validate_args)
        self._beta = self._marginals()

    def _marginals(self) -> Beta:
        """Of the squared radius of each row (the onion method of Lewandowski et al., 2009)."""
        c = self.concentration
        offset = torch.arange(self.dim - 1, dtype=c.dtype, device=c.device)
        offset = torch.cat([offset.new_zeros((1,)), offset])
        first = offset + 0.5
        second = c.unsqueeze(-1) + 0.5 * (self.dim - 2) - 0.5 * offset
        return Beta(first, second)

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        super()._expand_into(new, batch_shape)
        new.dim = self.dim
        new._beta = self._beta.expand((*batch_shape, self.dim))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Row by row: a radius, and a point on the sphere."""
        with no_grad():
            y = self._beta.sample(sample_shape).unsqueeze(-1)
            u = standard_normal(self._extended_shape(sample_shape), self.concentration).tril(-1)
            u = u / length(u).unsqueeze(-1)
            u[..., 0, :] = 0.0
            w = y.sqrt() * u
            rest = (1 - w.pow(2).sum(-1)).clamp(min=tiny_of(w)).sqrt()
            return w + rest.diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        c, n = self.concentration, self.dim
        diag = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = torch.arange(2, n + 1, dtype=c.dtype, device=c.device)
        order = 2 * (c - 1).unsqueeze(-1) + n - order
        unnormalized = (order * diag.log()).sum(-1)
        less = n - 1
        alpha = c + 0.5 * less
        norm = 0.5 * less * math.log(math.pi) + _mvlgamma(alpha - 0.5, less) - alpha.lgamma() * less
        return unnormalized - norm
