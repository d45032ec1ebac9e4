"""Kullback-Leibler divergences between different families.

Most have one shape: cross entropy minus entropy. The cross entropy of q needs a few moments of p,
which `_CROSS` takes; where p reaches beyond the support of q the divergence is infinite.
"""

from __future__ import annotations

import math
from typing import Any

from funtorch.distributions._facades import torch
from funtorch.distributions.continuous import Exponential, Laplace, Normal, Uniform
from funtorch.distributions.discrete import (
    Bernoulli,
    Binomial,
    ContinuousBernoulli,
    Poisson,
)
from funtorch.distributions.gammas import Beta, Gamma
from funtorch.distributions.kl import infinite_like, register_kl, x_log_x
from funtorch.distributions.transformed import Gumbel, Pareto
from funtorch.distributions.utils import euler_constant
from funtorch.tensor import Tensor

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def _never(p: Any, q: Any) -> Tensor:
    """p reaches where q has no mass, whatever the parameters."""
    return infinite_like(p.mean + q.mean)


_EVERYWHERE = (Normal, Laplace, Gumbel)
for _p, _qs in {
    Beta: (Pareto,),
    ContinuousBernoulli: (Pareto,),
    Exponential: (Beta, ContinuousBernoulli, Pareto, Uniform),
    Gamma: (Beta, ContinuousBernoulli, Pareto, Uniform),
    **dict.fromkeys(_EVERYWHERE, (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    Pareto: (Beta, ContinuousBernoulli, Uniform),
    Poisson: (Bernoulli, Binomial),
}.items():
    for _q in _qs:
        register_kl(_p, _q)(_never)


def _against_normal(p: Any, q: Any) -> Tensor:
    """-E_p[log q] for a normal q."""
    spread = p.variance + (p.mean - q.loc).pow(2)
    return spread / (2 * q.scale.pow(2)) + q.scale.log() + _LOG_SQRT_2PI


def _to_normal(p: Any, q: Any) -> Tensor:
    return _against_normal(p, q) - p.entropy()


for _p in (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Uniform):
    register_kl(_p, Normal)(_to_normal)


@register_kl(Pareto, Normal)
def _pareto_normal(p: Any, q: Any) -> Tensor:
    made = _to_normal(p, q)
    return torch.where(p.alpha <= 2, infinite_like(made), made)


def _to_exponential(p: Any, q: Any) -> Tensor:
    return q.rate * p.mean - q.rate.log() - p.entropy()


for _p in (Beta, ContinuousBernoulli, Gamma):
    register_kl(_p, Exponential)(_to_exponential)


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Any, q: Any) -> Tensor:
    made = _to_exponential(p, q)
    return torch.where(p.alpha <= 1, infinite_like(made), made)


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Any, q: Any) -> Tensor:
    made = _to_exponential(p, q)
    return torch.where(p.low < 0, infinite_like(made), made)


def _mean_log(p: Any) -> Tensor:
    """E_p[log x]"""
    if isinstance(p, Beta):
        return p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    if isinstance(p, Exponential):
        return -p.rate.log() - euler_constant
    if isinstance(p, Pareto):
        return p.scale.log() + p.alpha.reciprocal()
    return (x_log_x(p.high) - x_log_x(p.low)) / (p.high - p.low) - 1


def _to_gamma(p: Any, q: Any) -> Tensor:
    norm = q.concentration.lgamma() - q.concentration * q.rate.log()
    return norm - (q.concentration - 1) * _mean_log(p) + q.rate * p.mean - p.entropy()


for _p in (Beta, Exponential):
    register_kl(_p, Gamma)(_to_gamma)


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Any, q: Any) -> Tensor:
    made = _to_gamma(p, q)
    return torch.where(p.alpha <= 1, infinite_like(made), made)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Any, q: Any) -> Tensor:
    made = _to_gamma(p, q)
    return torch.where(p.low < 0, infinite_like(made), made)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Beta, ContinuousBernoulli)
def _beta_continuous_bernoulli(p: Any, q: Any) -> Tensor:
    return -p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._log_norm()


def _beyond(p: Any, q: Any, low: Any, high: Any, made: Tensor) -> Tensor:
    return torch.where((q.high < high) | (q.low > low), infinite_like(made), made)


@register_kl(Beta, Uniform)
@register_kl(ContinuousBernoulli, Uniform)
def _unit_uniform(p: Any, q: Any) -> Tensor:
    return _beyond(p, q, 0, 1, -p.entropy() + (q.high - q.low).log())


@register_kl(Uniform, Beta)
def _uniform_beta(p: Any, q: Any) -> Tensor:
    width = p.high - p.low
    above = (x_log_x(1 - p.high) - x_log_x(1 - p.low) + width) / width
    a, b = q.concentration1, q.concentration0
    made = (
        -width.log()
        - (a - 1) * _mean_log(p)
        + (b - 1) * above
        + a.lgamma()
        + b.lgamma()
        - (a + b).lgamma()
    )
    return torch.where((p.high > 1) | (p.low < 0), infinite_like(made), made)


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous_bernoulli(p: Any, q: Any) -> Tensor:
    made = -p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._log_norm()
    return torch.where((p.high > 1) | (p.low < 0), infinite_like(made), made)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Any, q: Any) -> Tensor:
    made = -p.entropy() - (q.alpha * q.scale.pow(q.alpha)).log() + (q.alpha + 1) * _mean_log(p)
    return torch.where(p.low < q.scale, infinite_like(made), made)


def _to_gumbel(p: Any, q: Any, generating: Tensor) -> Tensor:
    """generating: E_p[exp(-x / q.scale)]"""
    weight = generating * (q.loc / q.scale).exp()
    return q.scale.log() + (p.mean - q.loc) / q.scale + weight - p.entropy()


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Any, q: Any) -> Tensor:
    return _to_gumbel(p, q, (-p.loc / q.scale + 0.5 * (p.scale / q.scale).pow(2)).exp())


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Any, q: Any) -> Tensor:
    return _to_gumbel(p, q, p.rate / (p.rate + q.scale.reciprocal()))


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Any, q: Any) -> Tensor:
    return _to_gumbel(p, q, (1 + (p.rate * q.scale).reciprocal()).pow(-p.concentration))


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Any, q: Any) -> Tensor:
    ends = (-p.low / q.scale).exp() - (-p.high / q.scale).exp()
    return _to_gumbel(p, q, ends * q.scale / (p.high - p.low))


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Tensor:
    apart = p.loc - q.loc
    folded = (
        p.scale * math.sqrt(2 / math.pi) * (-0.5 * (apart / p.scale).pow(2)).exp()
        + apart * (apart / p.scale * math.sqrt(0.5)).erf()
    )
    return (2 * q.scale).log() + folded / q.scale - p.entropy()
