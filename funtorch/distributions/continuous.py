"""Distributions on the real line, with a location and a scale mostly."""

from __future__ import annotations

import math
from typing import Any

from funtorch.distributions import constraints
from funtorch.distributions._facades import torch
from funtorch.distributions._numbers import eps_of
from funtorch.distributions.distribution import Distribution, ExponentialFamily
from funtorch.distributions.utils import broadcast_all
from funtorch.grad_mode import no_grad
from funtorch.tensor import Tensor

__all__ = ["Cauchy", "Exponential", "Laplace", "Normal", "Uniform"]

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def standard_normal(shape: Any, like: Tensor) -> Tensor:
    """Standard normal numbers of the dtype and device of `like`. -> [shape]"""
    return torch.randn(tuple(shape), dtype=like.dtype, device=like.device)


def uniform_unit(shape: Any, like: Tensor) -> Tensor:
    """Uniform numbers on [0, 1). -> [shape]"""
    return torch.rand(tuple(shape), dtype=like.dtype, device=like.device)


class _LocationScale(Distribution):
    """loc and scale broadcast against each other."""

    arg_constraints: Any = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support: Any = constraints.real
    has_rsample = True
    _params = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.size(), validate_args=validate_args)


class Normal(_LocationScale, ExponentialFamily):
    """Normal distribution with mean `loc` and standard deviation `scale`."""

    _mean_carrier_measure = 0

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.loc

    mode = mean

    @property
    def stddev(self) -> Tensor:
        """Standard deviation."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """Variance."""
        return self.scale.pow(2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples without gradient."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return torch.normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc + scale * standard normal."""
        return self.loc + standard_normal(self._extended_shape(sample_shape), self.loc) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """-(x - loc)^2 / (2 scale^2) - log(scale sqrt(2 pi))"""
        if self._validate_args:
            self._validate_sample(value)
        distance = (value - self.loc) ** 2
        return -distance / (2 * self.scale**2) - self.scale.log() - _LOG_SQRT_2PI

    def cdf(self, value: Tensor) -> Tensor:
        """By the error function."""
        if self._validate_args:
            self._validate_sample(value)
        return 0.5 * (1 + ((value - self.loc) * self.scale.reciprocal() / math.sqrt(2)).erf())

    def icdf(self, value: Tensor) -> Tensor:
        """By the inverse of the error function."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        """log(scale sqrt(2 pi e))"""
        return 0.5 + _LOG_SQRT_2PI + self.scale.log()

    @property
    def _natural_params(self) -> tuple[Tensor, Tensor]:
        return self.loc / self.scale.pow(2), -0.5 * self.scale.pow(2).reciprocal()

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return -0.25 * x.pow(2) / y + 0.5 * (-math.pi / y).log()


class Laplace(_LocationScale):
    """exp(-|x - loc| / scale) / (2 scale)"""

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        """Variance."""
        return 2 * self.scale.pow(2)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation."""
        return 2**0.5 * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """By the quantile of a uniform number."""
        shape = self._extended_shape(sample_shape)
        u = self.loc.detach().new_empty(shape).uniform_(eps_of(self.loc) - 1, 1)
        return self.loc - self.scale * u.sign() * (-u.abs()).log1p()

    def log_prob(self, value: Tensor) -> Tensor:
        """-|x - loc| / scale - log(2 scale)"""
        if self._validate_args:
            self._validate_sample(value)
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        """Half an exponential on each side."""
        if self._validate_args:
            self._validate_sample(value)
        offset = value - self.loc
        return 0.5 - 0.5 * offset.sign() * (-offset.abs() / self.scale).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile."""
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Tensor:
        """1 + log(2 scale)"""
        return 1 + (2 * self.scale).log()


class Cauchy(_LocationScale):
    """1 / (pi scale (1 + ((x - loc) / scale)^2))"""

    @property
    def mean(self) -> Tensor:
        """There is none: NaN."""
        return torch.full(
            self._extended_shape(), math.nan, dtype=self.loc.dtype, device=self.loc.device
        )

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """There is none: infinity."""
        return torch.full(
            self._extended_shape(), math.inf, dtype=self.loc.dtype, device=self.loc.device
        )

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc + scale * standard Cauchy."""
        eps = self.loc.detach().new_empty(self._extended_shape(sample_shape)).cauchy_()
        return self.loc + eps * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        if self._validate_args:
            self._validate_sample(value)
        ratio = (value - self.loc) / self.scale
        return -math.log(math.pi) - self.scale.log() - (ratio**2).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        """By the arc tangent."""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        """By the tangent."""
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Tensor:
        """log(4 pi scale)"""
        return math.log(4 * math.pi) + self.scale.log()


class Uniform(Distribution):
    """1 / (high - low) on [low, high)"""

    has_rsample = True
    _params = ("low", "high")

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.size(), validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """low below high."""
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """[low, high]"""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        """No point is more likely than another: NaN."""
        return math.nan * self.high

    @property
    def stddev(self) -> Tensor:
        """Standard deviation."""
        return (self.high - self.low) / 12**0.5

    @property
    def variance(self) -> Tensor:
        """Variance."""
        return (self.high - self.low).pow(2) / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """low + (high - low) * uniform."""
        unit = uniform_unit(self._extended_shape(sample_shape), self.low)
        return self.low + unit * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(high - low) within, minus infinity outside."""
        if self._validate_args:
            self._validate_sample(value)
        within = self.low.le(value).type_as(self.low) * self.high.gt(value).type_as(self.low)
        return within.log() - (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        """A ramp."""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        """log(high - low)"""
        return (self.high - self.low).log()


class Exponential(ExponentialFamily):
    """rate exp(-rate x)"""

    arg_constraints: Any = {"rate": constraints.positive}  # noqa: RUF012
    support: Any = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0
    _params = ("rate",)

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        """Mode."""
        return torch.zeros_like(self.rate)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation."""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        """Variance."""
        return self.rate.pow(-2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Standard exponential / rate."""
        shape = self._extended_shape(sample_shape)
        return self.rate.detach().new_empty(shape).exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """log(rate) - rate x"""
        if self._validate_args:
            self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: Tensor) -> Tensor:
        """1 - exp(-rate x)"""
        if self._validate_args:
            self._validate_sample(value)
        return 1 - (-self.rate * value).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile."""
        return -(-value).log1p() / self.rate

    def entropy(self) -> Tensor:
        """1 - log(rate)"""
        return 1.0 - self.rate.log()

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (-self.rate,)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return -(-x).log()
