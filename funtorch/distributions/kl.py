"""Kullback-Leibler divergences: a registry, and the families on themselves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import total_ordering
from typing import Any

from funtorch.autograd import grad
from funtorch.distributions._facades import torch
from funtorch.distributions._numbers import xlogy
from funtorch.distributions.categorical import Categorical, OneHotCategorical
from funtorch.distributions.continuous import Cauchy, Exponential, Laplace, Normal, Uniform
from funtorch.distributions.discrete import (
    Bernoulli,
    Binomial,
    ContinuousBernoulli,
    Geometric,
    Poisson,
    _softplus,
)
from funtorch.distributions.distribution import Distribution, ExponentialFamily
from funtorch.distributions.gammas import Beta, Dirichlet, Gamma
from funtorch.distributions.independent import Independent
from funtorch.distributions.multivariate import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    batch_mahalanobis,
    half_log_det,
    low_rank_log_det,
    low_rank_mahalanobis,
    solve_lower,
)
from funtorch.distributions.transformed import Gumbel, HalfNormal, Pareto
from funtorch.distributions.transformed_distribution import TransformedDistribution
from funtorch.distributions.transforms import sum_rightmost
from funtorch.distributions.utils import euler_constant
from funtorch.tensor import Tensor

__all__ = ["kl_divergence", "register_kl"]

_KL_REGISTRY: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}
_KL_MEMOIZE: dict[tuple[type, type], Any] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Decorator: this function gives the divergence of a pair of classes."""
    for given in (type_p, type_q):
        if not isinstance(given, type) or not issubclass(given, Distribution):
            raise TypeError(f"Expected a subclass of Distribution but got {given}")

    def decorate(function: Any) -> Any:
        _KL_REGISTRY[type_p, type_q] = function
        _KL_MEMOIZE.clear()
        return function

    return decorate


@total_ordering
class _Match:
    """Orders pairs of classes by how specific they are, from the left."""

    def __init__(self, *types: type) -> None:
        self.types = types

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Match) and self.types == other.types

    def __le__(self, other: _Match) -> bool:
        for x, y in zip(self.types, other.types, strict=True):
            if not issubclass(x, y):
                return False
            if x is not y:
                break
        return True


def _dispatch(type_p: type, type_q: type) -> Any:
    matches = [
        pair for pair in _KL_REGISTRY if issubclass(type_p, pair[0]) and issubclass(type_q, pair[1])
    ]
    if not matches:
        return NotImplemented
    left = min(_Match(*m) for m in matches).types
    right = min(_Match(*reversed(m)) for m in matches).types
    if _KL_REGISTRY[left] is not _KL_REGISTRY[tuple(reversed(right))]:  # type: ignore[index]
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please "
            f"register_kl({left[0].__name__}, {right[0].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _KL_REGISTRY[left]  # type: ignore[index]


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """E_p[log p(x) - log q(x)]. Raises NotImplementedError for pairs without a rule. -> [batch]"""
    pair = type(p), type(q)
    if pair not in _KL_MEMOIZE:
        _KL_MEMOIZE[pair] = _dispatch(*pair)
    function = _KL_MEMOIZE[pair]
    if function is NotImplemented:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {pair[0].__name__} "
            f"and q type {pair[1].__name__}"
        )
    return function(p, q)


def x_log_x(x: Tensor) -> Tensor:
    """x log x, 0 at 0. [...] -> [...]"""
    return xlogy(x, x)


def infinite_like(x: Tensor) -> Tensor:
    """Infinity in the shape of another tensor."""
    return torch.full_like(x, math.inf)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Tensor:
    ones = p.probs * (_softplus(-q.logits) - _softplus(-p.logits))
    ones = torch.where(q.probs == 0, infinite_like(ones), ones).masked_fill(p.probs == 0, 0)
    zeros = (1 - p.probs) * (_softplus(q.logits) - _softplus(p.logits))
    zeros = torch.where(q.probs == 1, infinite_like(zeros), zeros).masked_fill(p.probs == 1, 0)
    return ones + zeros


@register_kl(Beta, Beta)
def _beta(p: Any, q: Any) -> Tensor:
    total_p, total_q = p.concentration1 + p.concentration0, q.concentration1 + q.concentration0
    t1 = q.concentration1.lgamma() + q.concentration0.lgamma() + total_p.lgamma()
    t2 = p.concentration1.lgamma() + p.concentration0.lgamma() + total_q.lgamma()
    t3 = (p.concentration1 - q.concentration1) * p.concentration1.digamma()
    t4 = (p.concentration0 - q.concentration0) * p.concentration0.digamma()
    return t1 - t2 + t3 + t4 + (total_q - total_p) * total_p.digamma()


@register_kl(Binomial, Binomial)
def _binomial(p: Any, q: Any) -> Tensor:
    if bool((p.total_count < q.total_count).any()):
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )
    made = p.total_count * (
        p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    )
    return torch.where(p.total_count > q.total_count, infinite_like(made), made)


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    terms = torch.where(q.probs == 0, infinite_like(terms), terms)
    return terms.masked_fill(p.probs.expand(terms.shape) == 0, 0).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: Any, q: Any) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p: Any, q: Any) -> Tensor:
    norms = p._log_norm() + (-p.probs).log1p() - q._log_norm() - (-q.probs).log1p()
    return p.mean * (p.logits - q.logits) + norms


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Tensor:
    total_p, total_q = p.concentration.sum(-1), q.concentration.sum(-1)
    t1 = total_p.lgamma() - total_q.lgamma()
    t2 = (p.concentration.lgamma() - q.concentration.lgamma()).sum(-1)
    t3 = p.concentration - q.concentration
    t4 = p.concentration.digamma() - total_p.digamma().unsqueeze(-1)
    return t1 - t2 + (t3 * t4).sum(-1)


@register_kl(Exponential, Exponential)
def _exponential(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(ExponentialFamily, ExponentialFamily)
def _exponential_family(p: Any, q: Any) -> Tensor:
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families "
            "cannot be computed using Bregman divergences"
        )
    own = [x.detach().requires_grad_() for x in p._natural_params]
    log_norm = p._log_normalizer(*own)
    gradients = grad([log_norm.sum()], own, create_graph=True)
    result = q._log_normalizer(*q._natural_params) - log_norm
    for x, y, slope in zip(own, q._natural_params, gradients, strict=True):
        result = result - sum_rightmost((y - x) * slope, len(q.event_shape))
    return result


@register_kl(Gamma, Gamma)
def _gamma(p: Any, q: Any) -> Tensor:
    t1 = q.concentration * (p.rate / q.rate).log()
    t2 = q.concentration.lgamma() - p.concentration.lgamma()
    t3 = (p.concentration - q.concentration) * p.concentration.digamma()
    return t1 + t2 + t3 + (q.rate - p.rate) * (p.concentration / p.rate)


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Any, q: Any) -> Tensor:
    ratio, shift_q, shift_p = p.scale / q.scale, q.loc / q.scale, p.loc / q.scale
    t1 = -ratio.log() - shift_q + shift_p
    t2 = ratio * euler_constant
    t3 = (shift_q + (1 + ratio).lgamma() - shift_p).exp()
    return t1 + t2 + t3 - (1 + euler_constant)


@register_kl(Geometric, Geometric)
def _geometric(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: Any, q: Any) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Tensor:
    ratio, apart = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + apart / q.scale + ratio * (-apart / p.scale).exp() - 1


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(Pareto, Pareto)
def _pareto(p: Any, q: Any) -> Tensor:
    ratio = q.alpha / p.alpha
    made = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return torch.where(p.scale < q.scale, infinite_like(made), made)


@register_kl(Poisson, Poisson)
def _poisson(p: Any, q: Any) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: Any, q: Any) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return sum_rightmost(
        kl_divergence(p.base_dist, q.base_dist), len(p.event_shape) - len(p.base_dist.event_shape)
    )


@register_kl(Uniform, Uniform)
def _uniform(p: Any, q: Any) -> Tensor:
    made = ((q.high - q.low) / (p.high - p.low)).log()
    return torch.where((q.low > p.low) | (q.high < p.high), infinite_like(made), made)


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Any, q: Any) -> Tensor:
    t1 = ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log()
    return t1 - (4 * p.scale * q.scale).log()


# Multivariate normal ------------------------------------------------------------------------------


def _check_events(p: Any, q: Any) -> None:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL-divergence between two {type(p).__name__} with different event "
            f"shapes cannot be computed: {p.event_shape} and {q.event_shape}"
        )


def _traces(lower: Tensor, *columns: Tensor) -> Any:
    """trace((L L')^-1 C C'), summed over the C given. [..., n, n], [..., n, m] -> [...]"""
    total: Any = 0
    for column in columns:
        shape = torch.broadcast_shapes(lower.shape[:-2], column.shape[:-2])
        wide = lower.expand((*shape, *lower.shape[-2:]))
        solved = solve_lower(wide, column.expand((*shape, *column.shape[-2:])))
        total = total + solved.pow(2).sum((-2, -1))
    return total


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: Any, q: Any) -> Tensor:
    _check_events(p, q)
    own, other = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    half = half_log_det(other) - half_log_det(own)
    distance = batch_mahalanobis(other, q.loc - p.loc)
    return half + 0.5 * (_traces(other, own) + distance - p.event_shape[0])


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _low_rank_to_full(p: Any, q: Any) -> Tensor:
    _check_events(p, q)
    other = q._unbroadcasted_scale_tril
    log_dets = 2 * half_log_det(other) - low_rank_log_det(p._diag_, p._capacitance_tril)
    trace = _traces(other, p._factor_, p._diag_.sqrt().diag_embed())
    distance = batch_mahalanobis(other, q.loc - p.loc)
    return 0.5 * (log_dets + trace + distance - p.event_shape[0])


def _trace_low_rank(q: Any, *columns: Tensor) -> Any:
    """trace(Sigma_q^-1 C C'), by Woodbury's identity."""
    total: Any = 0
    scaled = q._factor_.mT / q._diag_.unsqueeze(-2)
    for column in columns:
        direct = (column.pow(2) / q._diag_.unsqueeze(-1)).sum((-2, -1))
        total = total + direct - _traces(q._capacitance_tril, scaled @ column)
    return total


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _low_rank(p: Any, q: Any) -> Tensor:
    own = low_rank_log_det(p._diag_, p._capacitance_tril)
    return _to_low_rank(p, q, own, p._factor_, p._diag_.sqrt().diag_embed())


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _full_to_low_rank(p: Any, q: Any) -> Tensor:
    lower = p._unbroadcasted_scale_tril
    return _to_low_rank(p, q, 2 * half_log_det(lower), lower)


def _to_low_rank(p: Any, q: Any, own_log_det: Tensor, *columns: Tensor) -> Tensor:
    _check_events(p, q)
    log_dets = low_rank_log_det(q._diag_, q._capacitance_tril) - own_log_det
    distance = low_rank_mahalanobis(q._factor_, q._diag_, q.loc - p.loc, q._capacitance_tril)
    return 0.5 * (log_dets + _trace_low_rank(q, *columns) + distance - p.event_shape[0])
