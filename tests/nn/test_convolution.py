"""Forms of convolution and batch norm that the CPU prefers, against PyTorch."""

import numpy as np
import pytest

import funtorch
from funtorch.ops._convolve import _is_small

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

# input, weight, stride, padding, dilation: all of few places, so computed as one product
PRODUCTS = {
    "1x1": ((2, 3, 5, 5), (4, 3, 1, 1), 1, 0, 1),
    "1x1, stride and padding": ((2, 3, 5, 5), (4, 3, 1, 1), 2, 1, 1),
    "3x3": ((1, 3, 4, 4), (16, 3, 3, 3), 1, 1, 1),
    "stride, dilation": ((1, 2, 7, 6), (16, 2, 3, 2), (2, 1), (1, 0), (1, 2)),
    "one dimension": ((2, 3, 6), (16, 3, 3), 1, 1, 1),
    "three dimensions": ((1, 2, 3, 4, 3), (40, 2, 2, 2, 2), 1, 0, 1),
}


# input, weight, stride, padding, output padding, groups
TRANSPOSED = {
    "k4 s2": ((2, 3, 4, 5), (3, 2, 4, 4), 2, 1, 0, 1),
    "k2 s2": ((2, 3, 4, 5), (3, 2, 2, 2), 2, 0, 0, 1),
    "k3 s2 odd": ((2, 4, 4, 5), (4, 2, 3, 3), 2, 1, 1, 2),
    "kernel below the stride": ((1, 2, 4, 3), (2, 2, 2, 1), (3, 2), 0, (1, 1), 1),
    "one dimension": ((2, 3, 6), (3, 2, 5), 3, 2, 1, 1),
    "three dimensions": ((1, 2, 3, 2, 3), (2, 2, 3, 2, 3), (2, 1, 2), 1, 0, 1),
    "padded away": ((1, 2, 6, 6), (2, 2, 3, 3), 2, 2, 0, 1),
}


# the same, and groups
GROUPS = {
    "depthwise": ((2, 3, 6, 5), (3, 1, 3, 3), 1, 1, 1, 3),
    "depthwise, twice the channels": ((2, 3, 6, 5), (6, 1, 3, 2), 2, 1, (1, 2), 3),
    "depthwise in one dimension": ((2, 4, 9), (4, 1, 3), 1, 2, 2, 4),
    "few channels": ((2, 6, 5, 5), (9, 2, 3, 3), 1, 1, 1, 3),
    "many channels": ((1, 66, 4, 4), (4, 33, 3, 3), 1, 0, 1, 2),
}


def results(lib, case):
    shape, weight, *where = case
    rng = np.random.default_rng(0)
    x, w = (lib.tensor(rng.normal(size=s), requires_grad=True) for s in (shape, weight))
    conv = getattr(lib.nn.functional, f"conv{len(shape) - 2}d")
    out = conv(x, w, None, *where)
    first = lib.autograd.grad((out**3).sum(), (x, w), create_graph=True)
    second = lib.autograd.grad(sum((g**2).sum() for g in first), (x, w))
    return [t.detach().numpy() for t in (out, *first, *second)]


@pytest.mark.parametrize("name", PRODUCTS)
def test_as_a_product(name):
    shape, weight, *where = PRODUCTS[name]
    n = len(shape) - 2
    stride, padding, dilation = ((v,) * n if isinstance(v, int) else v for v in where)
    x, w = np.empty(shape), np.empty(weight)
    assert _is_small(x, w, stride, [(p, p) for p in padding], dilation)
    for got, expected in zip(
        results(funtorch, PRODUCTS[name]), results(torch, PRODUCTS[name]), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", GROUPS)
def test_groups(name):
    ours, theirs = (results(lib, GROUPS[name]) for lib in (funtorch, torch))
    for got, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_what_is_not_finite_stays_in_its_group():
    x = np.ones((1, 4, 3, 3), np.float32)
    x[0, 0, 0, 0] = np.inf
    for shape in ((4, 2, 2, 2), (4, 1, 2, 2)):
        groups = 4 // shape[1]
        found = [
            lib.nn.functional.conv2d(lib.tensor(x), lib.ones(shape), groups=groups).numpy()
            for lib in (funtorch, torch)
        ]
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_by_phases(name):
    def run(lib):
        shape, weight, *where = TRANSPOSED[name]
        rng = np.random.default_rng(0)
        x, w = (lib.tensor(rng.normal(size=s), requires_grad=True) for s in (shape, weight))
        conv = getattr(lib.nn.functional, f"conv_transpose{len(shape) - 2}d")
        out = conv(x, w, None, *where)
        return [t.detach().numpy() for t in (out, *lib.autograd.grad((out**3).sum(), (x, w)))]

    for got, expected in zip(run(funtorch), run(torch), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_batch_norm_to_the_second_gradient():
    def run(lib):
        rng = np.random.default_rng(0)
        x, w, b = (lib.tensor(rng.normal(size=s), requires_grad=True) for s in ((4, 3, 2, 5), 3, 3))
        out = lib.nn.functional.batch_norm(x, None, None, w, b, True)
        first = lib.autograd.grad((out**3).sum(), (x, w, b), create_graph=True)
        second = lib.autograd.grad(sum((g**3).sum() for g in first), (x, w))
        return [t.detach().numpy() for t in (out, *first, *second)]

    for got, expected in zip(run(funtorch), run(torch), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)
