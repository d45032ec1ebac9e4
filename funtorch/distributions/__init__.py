"""torch.distributions: densities, samples that follow PyTorch's seed, transforms, divergences."""

from __future__ import annotations

import sys as _sys

from funtorch.distributions import (
    categorical,
    constraint_registry,
    constraints,
    continuous,
    discrete,
    distribution,
    gammas,
    independent,
    kl,
    kl_pairs,
    matrix_transforms,
    mixture,
    multivariate,
    scalar_transforms,
    shaped,
    transformed,
    transformed_distribution,
    transforms,
    utils,
)
from funtorch.distributions.constraint_registry import biject_to, transform_to
from funtorch.distributions.kl import kl_divergence, register_kl

# Where programs import a class from, as PyTorch lays its modules out.
_PLACES = {
    distribution: {"Distribution": "distribution", "ExponentialFamily": "exp_family"},
    continuous: {
        "Cauchy": "cauchy",
        "Exponential": "exponential",
        "Laplace": "laplace",
        "Normal": "normal",
        "Uniform": "uniform",
    },
    shaped: {
        "GeneralizedPareto": "generalized_pareto",
        "StudentT": "studentT",
        "VonMises": "von_mises",
    },
    gammas: {
        "Beta": "beta",
        "Chi2": "chi2",
        "Dirichlet": "dirichlet",
        "Gamma": "gamma",
        "FisherSnedecor": "fishersnedecor",
    },
    discrete: {
        "Bernoulli": "bernoulli",
        "Binomial": "binomial",
        "Geometric": "geometric",
        "ContinuousBernoulli": "continuous_bernoulli",
        "Poisson": "poisson",
        "NegativeBinomial": "negative_binomial",
    },
    categorical: {
        "Categorical": "categorical",
        "Multinomial": "multinomial",
        "OneHotCategorical": "one_hot_categorical",
        "OneHotCategoricalStraightThrough": "one_hot_categorical",
        "RelaxedBernoulli": "relaxed_bernoulli",
        "LogitRelaxedBernoulli": "relaxed_bernoulli",
        "RelaxedOneHotCategorical": "relaxed_categorical",
        "ExpRelaxedCategorical": "relaxed_categorical",
    },
    transformed: {
        "Gumbel": "gumbel",
        "HalfCauchy": "half_cauchy",
        "HalfNormal": "half_normal",
        "InverseGamma": "inverse_gamma",
        "Kumaraswamy": "kumaraswamy",
        "LogNormal": "log_normal",
        "LogisticNormal": "logistic_normal",
        "Pareto": "pareto",
        "Weibull": "weibull",
    },
    transformed_distribution: {"TransformedDistribution": "transformed_distribution"},
    multivariate: {
        "LKJCholesky": "lkj_cholesky",
        "Wishart": "wishart",
        "LowRankMultivariateNormal": "lowrank_multivariate_normal",
        "MultivariateNormal": "multivariate_normal",
    },
    independent: {"Independent": "independent"},
    mixture: {"MixtureSameFamily": "mixture_same_family"},
}

__all__ = ["biject_to", "kl_divergence", "register_kl", "transform_to"]

for _module, _classes in _PLACES.items():
    for _name, _place in _classes.items():
        globals()[_name] = getattr(_module, _name)
        _sys.modules.setdefault(f"{__name__}.{_place}", _module)
        globals().setdefault(_place, _module)
        if not _name.startswith(("ExpRelaxed", "LogitRelaxed")):
            __all__ += [_name]

for _module in (transforms, scalar_transforms, matrix_transforms):
    for _name in _module.__all__:
        if _name.endswith("ransform"):
            globals()[_name] = getattr(_module, _name)
            setattr(transforms, _name, globals()[_name])
            __all__ += [_name]
