"""Numbers made inside the program: what a GPU's generator draws, tried on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import funtorch as ft
from funtorch.random.generator import KeyStream

N = 20000


def keyed(seed=0):
    """A generator that stands on the CPU and draws as one on a GPU does."""
    generator = ft.Generator()
    generator.stream = KeyStream(seed)
    return generator


DRAWS = {  # name: (draw, mean, standard deviation)
    "rand": (lambda g: ft.rand(N, generator=g), 0.5, 12**-0.5),
    "rand64": (lambda g: ft.rand(N, dtype=ft.float64, generator=g), 0.5, 12**-0.5),
    "randn": (lambda g: ft.randn(N, generator=g), 0, 1),
    "randn_bf16": (lambda g: ft.randn(N, dtype=ft.bfloat16, generator=g).float(), 0, 1),
    "randint": (lambda g: ft.randint(2, 9, (N,), generator=g).float(), 5, 2),
    "random_": (lambda g: ft.zeros(N).random_(0, 3, generator=g), 1, (2 / 3) ** 0.5),
    "uniform_": (lambda g: ft.zeros(N).uniform_(1, 3, generator=g), 2, 3**-0.5),
    "normal_": (lambda g: ft.zeros(N).normal_(2, 3, generator=g), 2, 3),
    "bernoulli_": (lambda g: ft.zeros(N).bernoulli_(0.2, generator=g), 0.2, 0.4),
    "bernoulli": (lambda g: ft.bernoulli(ft.full((N,), 0.2), generator=g), 0.2, 0.4),
    "exponential_": (lambda g: ft.zeros(N).exponential_(2, generator=g), 0.5, 0.5),
    "geometric_": (lambda g: ft.zeros(N).geometric_(0.5, generator=g), 2, 2**0.5),
    "normal": (lambda g: ft.normal(ft.full((N,), 1.0), 2.0, generator=g), 1, 2),
    "poisson": (lambda g: ft.poisson(ft.full((N,), 4.0), generator=g), 4, 2),
    "binomial": (
        lambda g: ft.binomial(ft.full((N,), 10.0), ft.full((N,), 0.5), generator=g),
        5,
        2.5**0.5,
    ),
    "gamma": (lambda g: ft._standard_gamma(ft.full((N,), 4.0), generator=g), 4, 2),
    "multinomial": (
        lambda g: ft.multinomial(ft.tensor([0.5, 0.0, 0.5]), N, True, generator=g).float(),
        1,
        1,
    ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_moments_and_repetition(name):
    draw, mean, deviation = DRAWS[name]
    first = draw(keyed()).numpy()
    np.testing.assert_allclose(first.mean(), mean, atol=5 * deviation / N**0.5)
    np.testing.assert_allclose(first.std(), deviation, rtol=0.05)
    np.testing.assert_array_equal(first, draw(keyed()).numpy())
    assert (first != draw(keyed(seed=1)).numpy()).any()


def test_permutation():
    drawn = ft.randperm(100, generator=keyed()).tolist()
    assert sorted(drawn) == list(range(100)) != drawn


@pytest.mark.parametrize("dtype", [ft.int64, ft.uint8, ft.bool, ft.float32])
def test_full_range(dtype):
    drawn = ft.zeros(1000, dtype=dtype).random_(generator=keyed())
    assert drawn.dtype is dtype
    assert bool((drawn >= 0).all())


def test_without_replacement():
    weights = ft.tensor([[1.0, 2.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
    rows = ft.multinomial(weights, 3, generator=keyed()).tolist()
    assert sorted(rows[0]) == [0, 1, 3]
    assert len(set(rows[1])) == 3
