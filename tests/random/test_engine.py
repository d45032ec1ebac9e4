"""The engine and its samplers draw PyTorch's numbers, and leave PyTorch's state behind."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from funtorch.random import rejection, sampling
from funtorch.random.engine import Engine

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

FLOATS = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
INTS = {"int64": np.int64, "int32": np.int32, "int8": np.int8, "uint8": np.uint8, "bool": np.bool_}
STATE_WITHOUT_SPARE = 5024  # beyond stands a normal number, whose last digit is libm's


def agree(theirs, ours, *, ulps=4):
    """Draw with both from one seed; compare numbers (to `ulps`) and states."""
    torch.manual_seed(11)
    engine = Engine(11)
    wanted = theirs()
    wanted = wanted.float().numpy() if wanted.dtype == torch.bfloat16 else wanted.numpy()
    got = ours(engine)
    got = got.astype(np.float32) if got.dtype == ml_dtypes.bfloat16 else got
    assert got.dtype == wanted.dtype
    if got.dtype.kind == "f":
        eps = np.finfo(got.dtype).eps
        np.testing.assert_allclose(got, wanted, rtol=ulps * eps, atol=ulps * eps * eps)
    else:
        np.testing.assert_array_equal(got, wanted)
    state = torch.get_rng_state().numpy()
    np.testing.assert_array_equal(
        engine.get_state()[:STATE_WITHOUT_SPARE], state[:STATE_WITHOUT_SPARE]
    )


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 3, 15, 16, 17, 31, 100, 5000])
@pytest.mark.parametrize(("mean", "std"), [(0, 1), (1.5, 0.3)])
def test_normal(name, count, mean, std):
    kind, dtype = getattr(torch, name), FLOATS[name]
    agree(
        lambda: torch.empty(count, dtype=kind).normal_(mean, std),
        lambda e: sampling.normal(e, count, dtype, mean, std),
        ulps=16,
    )


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.3, 2.7), (1.3, 1.9), (1e3, 1e3 + 1)])
def test_uniform_to_the_last_bit(name, low, high):
    kind, dtype = getattr(torch, name), FLOATS[name]
    agree(
        lambda: torch.empty(40000, dtype=kind).uniform_(low, high),
        lambda e: sampling.uniform(e, 40000, dtype, low, high),
        ulps=0,
    )


CONTINUOUS = {
    "exponential": ((1.7,), sampling.exponential),
    "cauchy": ((0.2, 3.0), sampling.cauchy),
    "log_normal": ((0.2, 0.5), sampling.log_normal),
    "geometric": ((0.2,), sampling.geometric),
}


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("sampler", CONTINUOUS)
def test_continuous(name, sampler):
    kind, dtype = getattr(torch, name), FLOATS[name]
    arguments, ours = CONTINUOUS[sampler]
    agree(
        lambda: getattr(torch.empty(1001, dtype=kind), f"{sampler}_")(*arguments),
        lambda e: ours(e, 1001, dtype, *arguments),
        ulps=8,
    )


@pytest.mark.parametrize("name", [*FLOATS, *INTS])
def test_full_range(name):
    dtype = {**FLOATS, **INTS}[name]
    agree(
        lambda: torch.empty(1000, dtype=getattr(torch, name)).random_(),
        lambda e: sampling.full_range(e, 1000, dtype),
        ulps=0,
    )


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 10),
        (-5, 7),
        (0, 2**28 - 1),
        (0, 2**28),
        (0, 2**31),
        (0, 2**32 - 1),
        (0, 2**32),
        (-(2**40), 2**41),
        (-(2**63), 2**63 - 1),
    ],
)
def test_integers(low, high):
    agree(
        lambda: torch.randint(low, high, (1000,)), lambda e: sampling.integers(e, 1000, low, high)
    )


def test_all_integers():
    agree(
        lambda: torch.empty(100, dtype=torch.int64).random_(-(2**63), None),
        lambda e: sampling.integers(e, 100, -(2**63), 2**63),
    )


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.3, 0.5, 1.0])
def test_below(p):
    agree(
        lambda: torch.empty(70000, dtype=torch.bool).bernoulli_(p),
        lambda e: sampling.below(e, 70000, p),
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 10, 50, 1000, 70000])
def test_permutation(count):
    agree(lambda: torch.randperm(count), lambda e: sampling.permutation(e, count))


@pytest.mark.parametrize("rate", [0.0, 0.5, 9.99, 10.0, 1e4])
def test_poisson(rate):
    rates = np.full(300, rate)
    agree(lambda: torch.poisson(torch.from_numpy(rates)), lambda e: rejection.poisson(e, rates))


@pytest.mark.parametrize(("n", "p"), [(5, 0.3), (5, 0.8), (100, 0.3), (100, 0.9), (30, 0.0)])
def test_binomial(n, p):
    counts, chances = np.full(300, float(n)), np.full(300, p)
    agree(
        lambda: torch.binomial(torch.from_numpy(counts), torch.from_numpy(chances)),
        lambda e: rejection.binomial(e, counts, chances),
    )


@pytest.mark.parametrize("shape", [0.1, 1.0, 3.0, 50.0])
def test_gamma(shape):
    shapes = np.full(301, shape)
    agree(
        lambda: torch._standard_gamma(torch.from_numpy(shapes)),
        lambda e: rejection.gamma(e, shapes, np.finfo(np.float64).tiny),
        ulps=32,
    )


def test_multinomial():
    weights = np.random.default_rng(0).random((4, 17))
    agree(
        lambda: torch.multinomial(torch.from_numpy(weights), 100, True),
        lambda e: rejection.multinomial(e, weights, 100),
    )


@pytest.mark.parametrize("before", [0, 1, 623, 624, 625, 2000])
def test_states_are_exchangeable(before):
    torch.manual_seed(3)
    torch.empty(before).uniform_()
    torch.randn(3)  # leaves a spare normal number behind
    engine = Engine(0)
    engine.set_state(torch.get_rng_state().numpy())
    np.testing.assert_array_equal(engine.get_state(), torch.get_rng_state().numpy())
    np.testing.assert_allclose(
        sampling.normal(engine, 5, np.float64, 0, 1),
        torch.randn(5, dtype=torch.float64).numpy(),
        rtol=1e-14,
    )
    torch.set_rng_state(torch.from_numpy(engine.get_state()))
    np.testing.assert_array_equal(sampling.permutation(engine, 9), torch.randperm(9).numpy())


@pytest.mark.parametrize("raw", [np.zeros(3, np.uint8), np.zeros(5056, np.uint8)])
def test_bad_states_are_refused(raw):
    with pytest.raises(RuntimeError, match="mt19937"):
        Engine(0).set_state(raw)
