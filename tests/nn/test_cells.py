"""Recurrent cells over five steps against PyTorch, gradients included."""

import numpy as np
import pytest

import funtorch as ft

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

CASES = [
    ("RNNCell", {}),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("LSTMCell", {}),
    ("GRUCell", {}),
    ("GRUCell", {"bias": False}),
]


def run(t, name, options):
    t.manual_seed(0)
    cell = getattr(t.nn, name)(3, 4, **options)
    data = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    state = None
    for step in data.tolist():
        state = cell(t.tensor(step), state)
    out = state[0] if name == "LSTMCell" else state
    (out * out).sum().backward()
    values = [out, *cell.parameters(), *(p.grad for p in cell.parameters())]
    return repr(cell), [v.tolist() for v in values]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_like_pytorch(name, options):
    mine, theirs = run(ft, name, options), run(torch, name, options)
    assert mine[0] == theirs[0]
    for a, b in zip(mine[1], theirs[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
