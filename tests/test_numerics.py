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
