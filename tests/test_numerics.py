"""Arithmetic that agrees with PyTorch to the last bit."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

QUOTIENTS = {
    "number": lambda t, x, c: x / 0.7,
    "element": lambda t, x, c: x / t.tensor(3.0),
    "column": lambda t, x, c: x / c,
    "row": lambda t, x, c: x / c[:8, 0],
    "of a number": lambda t, x, c: 2.0 / x,
    "integers": lambda t, x, c: t.arange(40) / 3,
    "half": lambda t, x, c: x.half() / 3,
    "in place": lambda t, x, c: x.clone().div_(7),
    "vmap": lambda t, x, c: t.func.vmap(lambda row: row / row[0])(x),
}


@pytest.mark.parametrize("name", QUOTIENTS)
def test_quotients(name: str) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((20, 8), (20, 1))]
    ours, theirs = (QUOTIENTS[name](t, *map(t.tensor, arrays)) for t in (funtorch, torch))
    assert str(ours.dtype) == str(theirs.dtype)
    np.testing.assert_array_equal(ours.tolist(), theirs.tolist())


LAST_BITS = [
    *("airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "modified_bessel_i0"),
    *("modified_bessel_i1", "modified_bessel_k1", "scaled_modified_bessel_k1", "digamma"),
]


@pytest.mark.parametrize("name", LAST_BITS)
def test_last_bits_that_show(name: str) -> None:
    """An `out=` of double precision shows the rounding of PyTorch's single precision."""
    x = np.linspace(0.125, 20, 160, dtype=np.float32)
    ours, theirs = (
        getattr(t.special, name)(t.tensor(x), out=t.zeros(160, dtype=t.float64))
        for t in (funtorch, torch)
    )
    same = np.equal(ours.tolist(), theirs.tolist())
    assert same.mean() > 0.95
    np.testing.assert_allclose(ours.tolist(), theirs.tolist(), rtol=1e-7, atol=1e-7)


WITH_ARRAYS = """
    x + a|a + x|a - x|x * a|a / x|x / a|a**x|x % a|x // a|x @ a|x == a|a == x|x != a|x < a|a >= x
    |x + np.float32(2)|np.float64(2) * x|x == np.array(5.0)|np.isnan(x)|np.exp(x)|np.add(x, a)|x.eq(a)
    |np.maximum(a, x)|np.concatenate([x, a])|np.sum(x)|np.where(a > 1, x, a)|a[t.tensor([0, 2])]
    |x[a > 1]|x.__iadd__(a)|np.argsort(x)|np.ones(1) + t.ones(1, requires_grad=True)
""".replace("\n", "").split("|")


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # real PyTorch's
@pytest.mark.parametrize("line", WITH_ARRAYS)
def test_with_arrays(line: str) -> None:
    """NumPy computes, and gives a tensor, or neither library can."""
    found = []
    for t in (funtorch, torch):
        x, a = t.tensor([0.5, 5.0, 2.0]), np.arange(3.0) + 1
        try:
            made = eval(line.strip(), {"np": np, "t": t, "x": x, "a": a})
            found.append((type(made).__name__, repr(made)))
        except (TypeError, RuntimeError) as error:
            found.append(type(error))
    assert found[0] == found[1]
