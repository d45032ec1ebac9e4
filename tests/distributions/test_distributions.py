"""Every distribution against PyTorch: same seed, same samples; and the same densities."""

from __future__ import annotations

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

MATRIX = "T.tensor([[2., .5, .1], [.5, 1.5, .2], [.1, .2, 1.]])"
MADE = [
    "Bernoulli(T.tensor([.2, .7]))",
    "Bernoulli(logits=T.tensor([-1., 2.]))",
    "Beta(T.tensor([.5, 2.]), T.tensor([1.5, 3.]))",
    "Binomial(5, T.tensor([.2, .7]))",
    "Categorical(T.tensor([[.2, .3, .5], [.6, .3, .1]]))",
    "Categorical(logits=T.tensor([.1, -1., 2.]))",
    "Cauchy(T.tensor([0., 1.]), T.tensor([1., 2.]))",
    "Chi2(T.tensor([1., 4.]))",
    "ContinuousBernoulli(T.tensor([.2, .5]))",
    "Dirichlet(T.tensor([.5, 1., 3.]))",
    "Exponential(T.tensor([.5, 2.]))",
    "FisherSnedecor(T.tensor([3., 5.]), T.tensor([6., 9.]))",
    "Gamma(T.tensor([.5, 3.]), T.tensor([1., 2.]))",
    "GeneralizedPareto(T.tensor([0., 1.]), T.tensor([1., 2.]), T.tensor([.2, 0.]))",
    "Geometric(T.tensor([.2, .7]))",
    "Gumbel(T.tensor([0., 1.]), T.tensor([1., 2.]))",
    "HalfCauchy(T.tensor([1., 2.]))",
    "HalfNormal(T.tensor([1., 2.]))",
    "Independent(D.Normal(T.zeros(2, 3), T.ones(2, 3)), 1)",
    "InverseGamma(T.tensor([3., 4.]), T.tensor([1., 2.]))",
    "Kumaraswamy(T.tensor([.5, 2.]), T.tensor([1.5, 3.]))",
    "LKJCholesky(3, T.tensor(.5))",
    "Laplace(T.tensor([0., 1.]), T.tensor([1., 2.]))",
    "LogNormal(T.tensor([0., .5]), T.tensor([.5, 1.]))",
    "LogisticNormal(T.tensor([0., .5]), T.tensor([.5, 1.]))",
    "LowRankMultivariateNormal(T.arange(3.), T.tensor([[1.], [.5], [.2]]), T.tensor([1., .5, 2.]))",
    "MixtureSameFamily(D.Categorical(T.tensor([.3, .7])), "
    "D.Normal(T.tensor([0., 3.]), T.tensor([1., .5])))",
    "Multinomial(6, T.tensor([.2, .3, .5]))",
    f"MultivariateNormal(T.arange(3.), {MATRIX})",
    f"MultivariateNormal(T.arange(3.), precision_matrix={MATRIX})",
    "NegativeBinomial(T.tensor([3., 5.]), T.tensor([.2, .7]))",
    "Normal(T.tensor([[0.], [1.]]), T.tensor([1., 2.]))",
    "Normal(.5, 1.5)",
    "OneHotCategorical(T.tensor([[.2, .3, .5], [.6, .3, .1]]))",
    "OneHotCategoricalStraightThrough(T.tensor([.2, .3, .5]))",
    "Pareto(T.tensor([1., 2.]), T.tensor([3., 4.]))",
    "Poisson(T.tensor([.5, 30.]))",
    "RelaxedBernoulli(T.tensor(.7), probs=T.tensor([.2, .7]))",
    "RelaxedOneHotCategorical(T.tensor(.7), probs=T.tensor([[.2, .3, .5], [.6, .3, .1]]))",
    "StudentT(T.tensor([3., 5.]), T.tensor([0., 1.]), T.tensor([1., 2.]))",
    "TransformedDistribution(D.Normal(T.tensor([0., .5]), T.tensor([1., .5])), "
    "[D.AffineTransform(1., .5), D.ExpTransform()])",
    "Uniform(T.tensor([0., -1.]), T.tensor([1., 2.]))",
    "VonMises(T.tensor([0., 1.]), T.tensor([1., 4.]))",
    "Weibull(T.tensor([1., 2.]), T.tensor([.5, 3.]))",
    f"Wishart(T.tensor(5.), covariance_matrix={MATRIX})",
]


pytestmark = pytest.mark.filterwarnings("ignore:Singular sample detected")  # PyTorch's Wishart


def make(call, package):
    return eval(f"D.{call}", {"T": package, "D": package.distributions})


def close(ours, theirs, rtol=2e-4, atol=1e-5):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("call", MADE)
def test_samples_and_densities(call):
    drawn = {}
    for package in (torch, funtorch):
        package.manual_seed(3)
        drawn[package] = make(call, package).sample((4,))
    if "Wishart" not in call:  # PyTorch draws again what rounding made asymmetric
        close(drawn[funtorch], drawn[torch])
    points = drawn[torch]
    ours = make(call, funtorch).log_prob(funtorch.from_numpy(points.numpy().copy()))
    close(ours, make(call, torch).log_prob(points))


@pytest.mark.parametrize("call", MADE)
def test_samples_with_gradient(call):
    if not make(call, torch).has_rsample:
        with pytest.raises(NotImplementedError):
            make(call, funtorch).rsample()
        return
    drawn = {}
    for package in (torch, funtorch):
        package.manual_seed(3)
        drawn[package] = make(call, package).rsample((2,))
    if "Wishart" not in call:
        close(drawn[funtorch], drawn[torch])


def test_registered_divergences_win():
    distributions = funtorch.distributions

    class Mine(distributions.Normal):
        pass

    @distributions.register_kl(Mine, Mine)
    def rule(p, q):
        return p.loc * 0 + 7

    p = Mine(funtorch.zeros(2), funtorch.ones(2))
    assert distributions.kl_divergence(p, p).tolist() == [7, 7]
    normal = distributions.Normal(funtorch.zeros(2), funtorch.ones(2))
    assert distributions.kl_divergence(p, normal).tolist() == [0, 0]


@pytest.mark.parametrize(
    "name",
    [
        "normal.Normal",
        "studentT.StudentT",
        "kl.kl_divergence",
        "exp_family.ExponentialFamily",
        "transforms.ExpTransform",
        "constraint_registry.biject_to",
        "utils.broadcast_all",
    ],
)
def test_modules_lie_where_pytorch_has_them(name):
    module, _, attribute = name.partition(".")
    found = __import__(f"funtorch.distributions.{module}", fromlist=[attribute])
    assert hasattr(found, attribute)


AT_THE_ENDS = {("ContinuousBernoulli", "Uniform"), ("Uniform", "ContinuousBernoulli")}


def divergence_pairs():
    from torch.distributions.kl import _KL_REGISTRY

    names = {p.split("(")[0]: p for p in reversed(MADE)}
    for p, q in _KL_REGISTRY:
        if p.__name__ in names and q.__name__ in names:
            yield p.__name__, names[p.__name__], names[q.__name__]


@pytest.mark.parametrize(("name", "p", "q"), list(divergence_pairs()))
def test_divergences(name, p, q):
    if (name, q.split("(")[0]) in AT_THE_ENDS:
        pytest.skip("PyTorch calls it infinite if the supports end at the same point")
    results = {}
    for package in (torch, funtorch):
        one, other = make(p, package), make(q, package)
        if name == "TransformedDistribution":
            other = one
        try:
            results[package] = package.distributions.kl_divergence(one, other)
        except NotImplementedError:
            results[package] = None
    if results[torch] is None:
        assert results[funtorch] is None
    else:
        close(results[funtorch], results[torch], rtol=2e-3)
