"""First and second derivatives where formulas decide: at zeros, ties, infinities, lost ranks."""

from __future__ import annotations

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
pytestmark = [
    pytest.mark.filterwarnings("ignore:index_reduce"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]

_drawn = np.random.default_rng(0).uniform(-2, 2, (3, 4, 4))
A, B = _drawn[0, :3], _drawn[1, :3]
SQUARE = _drawn[2]
RANK_ONE = np.outer(_drawn[0, 0], _drawn[1, 0, :3])
WITH_ZEROS = np.array([[0.0, 2.0, 0.0], [1.5, 0.0, 3.0]])
SOURCE = np.array([[0.0, 0.7, 1.3, -1.1], [0.4, -0.6, 0.0, 2.0]])
INFINITE = np.array([-np.inf, 1.0, -np.inf, 0.5])
GRID = np.tanh(_drawn[:1, :, :, None] * np.array([0.6, -0.4]))
IMAGE = _drawn[None]


def norm(p):
    return lambda t, x: t.linalg.vector_norm(x, p, dim=1)


def product(name):
    def reduced(t, x, source):
        index = t.tensor([[0, 1, 0, 1], [1, 1, 0, 0]]) if name == "scatter_reduce" else [0, 1, 0, 1]
        index = index if name == "scatter_reduce" else t.tensor(index)
        return getattr(t, name)(x, 1, index, source, "prod")

    return reduced


def sampled(mode, padding):
    return lambda t, x, g: t.nn.functional.grid_sample(x, g, mode, padding, align_corners=False)


def group_norm(t, x):
    return t.cat([y.flatten() for y in t.native_group_norm(x, None, None, 1, 3, 4, 1, 0.1)])


CASES = {
    "remainder": (lambda t, x, y: t.remainder(x, y), A, B),
    "nextafter": (lambda t, x, y: t.nextafter(x, y), np.arange(3.0), np.array([0.0, 2.0, 1.0])),
    "logaddexp": (lambda t, x, y: t.logaddexp(x, y), INFINITE, INFINITE[[0, 1, 3, 2]]),
    "logaddexp2": (lambda t, x, y: t.logaddexp2(x, y), A, B),
    **{f"norm{p}": (norm(p), WITH_ZEROS) for p in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf"))},
    "norm2_of_zeros": (norm(2.0), np.zeros((2, 3))),
    "normalize0": (lambda t, x: t.nn.functional.normalize(x, 0.0, 1), A),
    "group_norm": (group_norm, A[None]),
    "soft_margin": (lambda t, x: t.nn.functional.soft_margin_loss(x, t.ones_like(x)), A * 30),
    "pinv_wide": (lambda t, x: t.linalg.pinv(x), A),
    "pinv_tall": (lambda t, x: t.linalg.pinv(x), A.T.copy()),
    "pinv_rank_one": (lambda t, x: t.linalg.pinv(x, rtol=1e-6), RANK_ONE),
    "pinv_hermitian": (lambda t, x: t.linalg.pinv(x @ x.T, hermitian=True), SQUARE),
    "cholesky": (lambda t, x: t.linalg.cholesky(x), SQUARE @ SQUARE.T),
    "cholesky_upper": (lambda t, x: t.linalg.cholesky(x, upper=True), SQUARE @ SQUARE.T),
    "eigh": (lambda t, x: t.linalg.eigh(x, "U")[1].square(), SQUARE @ SQUARE.T),
    "lstsq": (lambda t, x, y: t.linalg.lstsq(x, y, driver="gelsd")[0], A.T.copy(), B.T.copy()),
    "lstsq_residuals": (lambda t, x, y: t.linalg.lstsq(x, y, driver="gels")[1], A.T.copy(), B.T.copy()),
    "cholesky_solve": (lambda t, x, y: t.cholesky_solve(x, y + 3 * t.eye(4)), SQUARE, SQUARE),
    "cholesky_solve_upper": (lambda t, x, y: t.cholesky_solve(x, y, upper=True), SQUARE, SQUARE),
    "scatter_prod": (product("scatter_reduce"), WITH_ZEROS, SOURCE),
    "index_prod": (product("index_reduce"), WITH_ZEROS, SOURCE),
    **{
        f"grid_sample_{mode}": (sampled(mode, padding), IMAGE, GRID)
        for mode, padding in (("bilinear", "zeros"), ("nearest", "border"), ("bicubic", "zeros"))
    },
    "cosine_similarity_0d": (
        lambda t, x, y: t.nn.functional.cosine_similarity(x, y, dim=0),
        np.array(2.0),
        np.array(-3.0),
    ),
}  # fmt: skip


def derivatives(t, fn, arrays):
    """The gradient of a weighted sum, and that of a weighted sum of it; None where it is undefined."""
    inputs = [t.tensor(a, requires_grad=True) for a in arrays]
    out = fn(t, *inputs)

    def total(tensors):
        return sum((x * (x.detach() * 0 + 0.7)).cos().sum() for x in tensors)

    first = t.autograd.grad(total([out]), inputs, create_graph=True, allow_unused=True)
    usable = [g for g in first if g is not None and g.requires_grad]
    second = t.autograd.grad(total(usable), inputs, allow_unused=True) if usable else ()
    return [out, *first, *second]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients(case):
    fn, *arrays = CASES[case]
    for want, got in zip(
        derivatives(torch, fn, arrays), derivatives(funtorch, fn, arrays), strict=True
    ):
        assert (want is None) == (got is None)
        if want is not None:
            np.testing.assert_allclose(
                got.detach().numpy(), want.detach().numpy(), rtol=1e-6, atol=1e-9
            )


TANGENTS = {
    "nextafter": CASES["nextafter"],
    "pinv_hermitian": (lambda t, x: t.linalg.pinv(x, hermitian=True), SQUARE @ SQUARE.T),
    "lstsq": CASES["lstsq"],
    "masked_select": (lambda t, x: t.masked_select(x, t.tensor([True, False, True, False])), A),
}


@pytest.mark.parametrize("case", TANGENTS, ids=str)
def test_tangents(case):
    fn, *arrays = TANGENTS[case]
    made = []
    for t in (torch, funtorch):
        inputs = tuple(t.tensor(a) for a in arrays)
        along = tuple(t.tensor(np.cos(np.arange(a.size)).reshape(a.shape)) for a in arrays)
        made.append(t.func.jvp(lambda *xs, t=t: fn(t, *xs), inputs, along)[1].numpy())
    np.testing.assert_allclose(made[1], made[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("p", [0, 2])
def test_a_gradient_that_is_undefined_is_none(p):
    found = []
    for t in (torch, funtorch):
        x = t.ones(3, requires_grad=True)
        n = t.linalg.vector_norm(x, p)
        found.append((n.requires_grad, t.autograd.grad(n, x, allow_unused=True)[0] is None))
    assert found[0] == found[1]


def test_batches_of_places():
    x = np.array([[1.0, 0, 2], [0, 3, 4]])
    want, got = (
        t.func.vmap(lambda a, t=t: t.nonzero_static(a, size=4, fill_value=-7))(t.tensor(x)).numpy()
        for t in (torch, funtorch)
    )
    np.testing.assert_array_equal(got, want)
