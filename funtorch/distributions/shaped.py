"""Distributions on the real line or the circle whose shape has a parameter of its own."""

from __future__ import annotations

import math
from typing import Any

from funtorch import dtypes
from funtorch.distributions import constraints
from funtorch.distributions._facades import torch
from funtorch.distributions._matrices import _scaled_bessel0, _scaled_bessel1
from funtorch.distributions.continuous import standard_normal, uniform_unit
from funtorch.distributions.distribution import Distribution
from funtorch.distributions.gammas import Chi2
from funtorch.distributions.utils import broadcast_all, lazy_property
from funtorch.grad_mode import no_grad
from funtorch.tensor import Tensor

__all__ = ["GeneralizedPareto", "StudentT", "VonMises"]


class StudentT(Distribution):
    """Student's t with `df` degrees of freedom, moved by `loc` and stretched by `scale`."""

    arg_constraints: Any = {  # noqa: RUF012
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support: Any = constraints.real
    has_rsample = True
    _params = ("df", "loc", "scale")

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.size(), validate_args=validate_args)

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        super()._expand_into(new, batch_shape)
        new._chi2 = self._chi2.expand(batch_shape)

    @property
    def mean(self) -> Tensor:
        """loc, where df > 1; else NaN."""
        return self.loc.masked_fill(self.df <= 1, math.nan)

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale^2 df / (df - 2) where df > 2, infinite above 1, else NaN."""
        m = self.scale.pow(2) * self.df / (self.df - 2)
        m = torch.where(self.df > 2, m, torch.full_like(m, math.inf))
        return m.masked_fill(self.df <= 1, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc + scale * normal / sqrt(chi2 / df)"""
        shape = self._extended_shape(sample_shape)
        x = standard_normal(shape, self.df)
        y = x * (self._chi2.rsample(sample_shape) / self.df).rsqrt()
        return self.loc + self.scale * y

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        norm = (
            self.scale.log()
            + 0.5 * self.df.log()
            + 0.5 * math.log(math.pi)
            + (0.5 * self.df).lgamma()
            - (0.5 * (self.df + 1)).lgamma()
        )
        return -0.5 * (self.df + 1) * (y**2 / self.df).log1p() - norm

    def entropy(self) -> Tensor:
        """Entropy."""
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        log_beta = half.lgamma() + math.lgamma(0.5) - more.lgamma()
        return (
            self.scale.log()
            + more * (more.digamma() - half.digamma())
            + 0.5 * self.df.log()
            + log_beta
        )


class GeneralizedPareto(Distribution):
    """Tail beyond a threshold `loc`, with `scale` and shape `concentration`."""

    arg_constraints: Any = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    has_rsample = True
    _params = ("loc", "scale", "concentration")

    def __init__(
        self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.size(), validate_args=validate_args)

    @property
    def _flat(self) -> Tensor:
        """Where the shape is zero, which makes it an exponential."""
        return torch.isclose(self.concentration, torch.zeros_like(self.concentration))

    def _safe(self) -> Tensor:
        return torch.where(self._flat, torch.ones_like(self.concentration), self.concentration)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From loc up; for a negative shape up to loc - scale / shape."""
        end = self.loc - self.scale / self._safe()
        none = torch.full_like(end, math.inf)
        return constraints.interval(self.loc, torch.where(self.concentration < 0, end, none))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """The quantile of a uniform number."""
        return self.icdf(uniform_unit(self._extended_shape(sample_shape), self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        z, c = (value - self.loc) / self.scale, self._safe()
        bent = -self.scale.log() - (c + 1) * (1 + c * z).log() / c
        return torch.where(self._flat, -z - self.scale.log(), bent)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of being at most `value`."""
        if self._validate_args:
            self._validate_sample(value)
        z, c = (value - self.loc) / self.scale, self._safe()
        tail = torch.where(self._flat, (-z).exp(), (1 + c * z).clamp(min=0) ** (-1 / c))
        return 1 - tail

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile."""
        c, left = self._safe(), (-value).log1p()
        return self.loc + self.scale * torch.where(self._flat, -left, (-c * left).expm1() / c)

    @property
    def mean(self) -> Tensor:
        """Mean, infinite for shapes of 1 and more."""
        c = self.concentration
        made = self.loc + self.scale / (1 - c)
        return torch.where(c < 1, made, torch.full_like(made, math.inf))

    @property
    def variance(self) -> Tensor:
        """Variance, infinite for shapes of 1/2 and more."""
        c = self.concentration
        made = self.scale**2 / ((1 - c) ** 2 * (1 - 2 * c))
        return torch.where(c < 0.5, made, torch.full_like(made, math.inf))

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.loc

    def entropy(self) -> Tensor:
        """log(scale) + shape + 1"""
        return (self.scale.log() + self.concentration + 1).expand(self._batch_shape)


class VonMises(Distribution):
    """exp(concentration cos(x - loc)) / (2 pi I0(concentration)) on the circle."""

    arg_constraints: Any = {  # noqa: RUF012
        "loc": constraints.real,
        "concentration": constraints.positive,
    }
    support: Any = constraints.real
    has_rsample = False
    _params = ("loc", "concentration")

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.size(), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        c = self.concentration
        log_i0 = _scaled_bessel0(c).log() + c
        return c * (value - self.loc).cos() - math.log(2 * math.pi) - log_i0

    @lazy_property
    def _proposal(self) -> Tensor:
        """Best and Fisher's envelope, in double precision."""
        kappa = self.concentration.to(dtypes.float64)
        tau = 1 + (1 + 4 * kappa**2).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
        exact = (1 + rho**2) / (2 * rho)
        return torch.where(kappa < 1e-5, 1 / kappa + kappa, exact)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By rejection from a wrapped Cauchy distribution (Best and Fisher, 1979)."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            r = self._proposal.expand(shape)
            kappa = self.concentration.to(dtypes.float64).expand(shape)
            x = torch.zeros(tuple(shape), dtype=dtypes.float64, device=self.loc.device)
            done = torch.zeros(tuple(shape), dtype=dtypes.bool_, device=self.loc.device)
            while not bool(done.all()):
                u1, u2, u3 = uniform_unit((3, *shape), x).unbind()
                z = (math.pi * u1).cos()
                f = (1 + r * z) / (r + z)
                c = kappa * (r - f)
                accept = ((c * (2 - c) - u2) > 0) | ((c / u2).log() + 1 - c >= 0)
                x = torch.where(accept, (u3 - 0.5).sign() * f.acos(), x)
                done = done | accept
            turned = (x + math.pi + self.loc.to(dtypes.float64)) % (2 * math.pi) - math.pi
            return turned.to(self.loc.dtype)

    @property
    def mean(self) -> Tensor:
        """Circular mean."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Circular variance, 1 - I1 / I0."""
        return 1 - _scaled_bessel1(self.concentration) / _scaled_bessel0(self.concentration)
