"""Distributions that are another one seen through transforms."""

from __future__ import annotations

import math
from typing import Any

from funtorch.distributions import constraints
from funtorch.distributions._facades import torch
from funtorch.distributions._numbers import eps_of, tiny_of
from funtorch.distributions.continuous import Cauchy, Exponential, Normal, Uniform
from funtorch.distributions.gammas import Gamma
from funtorch.distributions.matrix_transforms import StickBreakingTransform
from funtorch.distributions.scalar_transforms import (
    AbsTransform,
    AffineTransform,
    ExpTransform,
    PowerTransform,
)
from funtorch.distributions.transformed_distribution import TransformedDistribution
from funtorch.distributions.transforms import Transform
from funtorch.distributions.utils import broadcast_all, euler_constant
from funtorch.tensor import Tensor

__all__ = [
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "Kumaraswamy",
    "LogNormal",
    "LogisticNormal",
    "Pareto",
    "Weibull",
]


class LogNormal(TransformedDistribution):
    """exp of a normal number."""

    arg_constraints: Any = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support: Any = constraints.positive
    has_rsample: Any = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(
            Normal(loc, scale, validate_args=validate_args),
            ExpTransform(),
            validate_args=validate_args,
        )

    @property
    def loc(self) -> Tensor:
        """Mean of the logarithm."""
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the logarithm."""
        return self.base_dist.scale

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return (self.loc + self.scale.pow(2) / 2).exp()

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        """Variance."""
        squared = self.scale.pow(2)
        return squared.expm1() * (2 * self.loc + squared).exp()

    def entropy(self) -> Tensor:
        """Entropy."""
        return self.base_dist.entropy() + self.loc


class LogisticNormal(TransformedDistribution):
    """A normal vector broken onto the simplex."""

    arg_constraints: Any = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support: Any = constraints.simplex
    has_rsample: Any = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args=validate_args)
        if not base.batch_shape:
            base = base.expand([1])
        super().__init__(base, StickBreakingTransform(), validate_args=validate_args)

    @property
    def loc(self) -> Tensor:
        """Mean of the normal vector."""
        return self.base_dist.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the normal vector."""
        return self.base_dist.base_dist.scale


class _HalfOf(TransformedDistribution):
    """|x| of a symmetric distribution around zero."""

    arg_constraints: Any = {"scale": constraints.positive}  # noqa: RUF012
    support: Any = constraints.nonnegative
    has_rsample: Any = True
    _base: Any

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(
            self._base(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args
        )

    @property
    def scale(self) -> Tensor:
        """Scale of the base."""
        return self.base_dist.scale

    @property
    def mode(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Twice the density of the base above zero."""
        if self._validate_args:
            self._validate_sample(value)
        value = torch.as_tensor(value, dtype=self.scale.dtype, device=self.scale.device)
        log_prob = self.base_dist.log_prob(value) + math.log(2)
        return torch.where(value >= 0, log_prob, torch.full_like(log_prob, -math.inf))

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of being at most `value`."""
        if self._validate_args:
            self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, prob: Tensor) -> Tensor:
        """Quantile."""
        return self.base_dist.icdf((prob + 1) / 2)

    def entropy(self) -> Tensor:
        """Entropy."""
        return self.base_dist.entropy() - math.log(2)


class HalfNormal(_HalfOf):
    """|x| of a normal number."""

    _base = Normal

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        """Variance."""
        return self.scale.pow(2) * (1 - 2 / math.pi)


class HalfCauchy(_HalfOf):
    """|x| of a Cauchy number."""

    _base = Cauchy

    @property
    def mean(self) -> Tensor:
        """There is none: infinity."""
        return torch.full(
            self._extended_shape(), math.inf, dtype=self.scale.dtype, device=self.scale.device
        )

    @property
    def variance(self) -> Tensor:
        """There is none: infinity."""
        return self.base_dist.variance


class Gumbel(TransformedDistribution):
    """Distribution of maxima: loc - scale log(-log(u))."""

    arg_constraints: Any = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support: Any = constraints.real
    _params = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        base = Uniform(
            torch.full_like(self.loc, tiny_of(self.loc)),
            torch.full_like(self.loc, 1 - eps_of(self.loc)),
            validate_args=validate_args,
        )
        super().__init__(base, self._chain(self.loc, self.scale), validate_args=validate_args)

    @staticmethod
    def _chain(loc: Tensor, scale: Tensor) -> list[Transform]:
        return [
            ExpTransform().inv,
            AffineTransform(loc=0, scale=-torch.ones_like(scale)),
            ExpTransform().inv,
            AffineTransform(loc=loc, scale=-scale),
        ]

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        new.transforms = self._chain(new.loc, new.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return (y - y.exp()) - self.scale.log()

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.loc + self.scale * euler_constant

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """Standard deviation."""
        return (math.pi / math.sqrt(6)) * self.scale

    @property
    def variance(self) -> Tensor:
        """Variance."""
        return self.stddev.pow(2)

    def entropy(self) -> Tensor:
        """Entropy."""
        return self.scale.log() + (1 + euler_constant)


class Pareto(TransformedDistribution):
    """alpha scale^alpha / x^(alpha + 1) above `scale`."""

    arg_constraints: Any = {  # noqa: RUF012
        "alpha": constraints.positive,
        "scale": constraints.positive,
    }

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        super().__init__(
            Exponential(self.alpha, validate_args=validate_args),
            [ExpTransform(), AffineTransform(loc=0, scale=self.scale)],
            validate_args=validate_args,
        )

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        new.scale, new.alpha = self.scale.expand(batch_shape), self.alpha.expand(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        new.transforms = [ExpTransform(), AffineTransform(loc=0, scale=new.scale)]

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From `scale` up."""
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        """Mean; infinite for alpha up to 1."""
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """Variance; infinite for alpha up to 2."""
        a = self.alpha.clamp(min=2)
        return self.scale.pow(2) * a / ((a - 1).pow(2) * (a - 2))

    def entropy(self) -> Tensor:
        """Entropy."""
        return (self.scale / self.alpha).log() + (1 + self.alpha.reciprocal())


class Weibull(TransformedDistribution):
    """scale * exponential ^ (1 / concentration)"""

    arg_constraints: Any = {  # noqa: RUF012
        "scale": constraints.positive,
        "concentration": constraints.positive,
    }
    support: Any = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        base = Exponential(torch.ones_like(self.scale), validate_args=validate_args)
        super().__init__(base, self._chain(), validate_args=validate_args)

    def _chain(self) -> list[Transform]:
        return [
            PowerTransform(exponent=self.concentration_reciprocal),
            AffineTransform(loc=0, scale=self.scale),
        ]

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        new.scale = self.scale.expand(batch_shape)
        new.concentration = self.concentration.expand(batch_shape)
        new.concentration_reciprocal = new.concentration.reciprocal()
        new.base_dist = self.base_dist.expand(batch_shape)
        new.transforms = new._chain()

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.scale * (1 + self.concentration_reciprocal).lgamma().exp()

    @property
    def mode(self) -> Tensor:
        """Mode."""
        c = self.concentration
        return self.scale * ((c - 1) / c) ** c.reciprocal()

    @property
    def variance(self) -> Tensor:
        """Variance."""
        r = self.concentration_reciprocal
        return self.scale.pow(2) * ((1 + 2 * r).lgamma().exp() - (2 * (1 + r).lgamma()).exp())

    def entropy(self) -> Tensor:
        """Entropy."""
        r = self.concentration_reciprocal
        return euler_constant * (1 - r) + (self.scale * r).log() + 1


class Kumaraswamy(TransformedDistribution):
    """(1 - (1 - u)^(1 / c0))^(1 / c1)"""

    arg_constraints: Any = {  # noqa: RUF012
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support: Any = constraints.unit_interval
    has_rsample: Any = True

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        base = Uniform(
            torch.zeros_like(self.concentration0),
            torch.ones_like(self.concentration0),
            validate_args=validate_args,
        )
        super().__init__(base, self._chain(), validate_args=validate_args)

    def _chain(self) -> list[Transform]:
        return [
            PowerTransform(exponent=self.concentration0.reciprocal()),
            AffineTransform(loc=1.0, scale=-1.0),
            PowerTransform(exponent=self.concentration1.reciprocal()),
        ]

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        new.concentration1 = self.concentration1.expand(batch_shape)
        new.concentration0 = self.concentration0.expand(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        new.transforms = new._chain()

    def _moment(self, n: int) -> Tensor:
        """E[x^n]"""
        a, b = self.concentration1, self.concentration0
        power = 1 + n / a
        return (power.lgamma() + b.lgamma() - (power + b).lgamma()).exp() * b

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        """Mode; NaN where there is none within."""
        # PyTorch's formula, which is NaN for concentration0 > 1 too.
        a, b = self.concentration1, self.concentration0
        log_mode = b.reciprocal() * (-b).log1p() - (-b * a).log1p()
        return log_mode.exp().masked_fill((a < 1) | (b < 1), math.nan)

    @property
    def variance(self) -> Tensor:
        """Variance."""
        return self._moment(2) - self._moment(1).pow(2)

    def entropy(self) -> Tensor:
        """Entropy."""
        t1, t0 = 1 - self.concentration1.reciprocal(), 1 - self.concentration0.reciprocal()
        harmonic = (self.concentration0 + 1).digamma() + euler_constant
        return t0 + t1 * harmonic - self.concentration1.log() - self.concentration0.log()


class InverseGamma(TransformedDistribution):
    """1 / x of a gamma number."""

    arg_constraints: Any = {  # noqa: RUF012
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support: Any = constraints.positive
    has_rsample: Any = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        power = -base.rate.new_ones(())
        super().__init__(base, PowerTransform(power), validate_args=validate_args)

    @property
    def concentration(self) -> Tensor:
        """Of the gamma distribution."""
        return self.base_dist.concentration

    @property
    def rate(self) -> Tensor:
        """Of the gamma distribution."""
        return self.base_dist.rate

    @property
    def mean(self) -> Tensor:
        """Mean; infinite for concentrations up to 1."""
        made = self.rate / (self.concentration - 1)
        return torch.where(self.concentration > 1, made, torch.full_like(made, math.inf))

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        """Variance; infinite for concentrations up to 2."""
        c = self.concentration
        made = self.rate.square() / ((c - 1).square() * (c - 2))
        return torch.where(c > 2, made, torch.full_like(made, math.inf))

    def entropy(self) -> Tensor:
        """Entropy."""
        c = self.concentration
        return c + self.rate.log() + c.lgamma() - (1 + c) * c.digamma()
