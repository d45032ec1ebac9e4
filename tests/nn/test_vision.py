"""Layers for images against PyTorch, beyond what its module database asks."""

from __future__ import annotations

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


@pytest.mark.parametrize(
    "channels, given",
    [(7, (5, 0.4, 0.75, 1.5)), (4, (3,)), (2, (5, 0.3)), (6, (4, 0.5, 0.6, 2.0))],
)
def test_cross_map_lrn(channels: int, given: tuple[float, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(2, channels, 2, 3))
    weights = np.arange(x.size).reshape(x.shape)
    made = []
    for t in (funtorch, torch):
        leaf = t.tensor(x, requires_grad=True)
        out = t.nn.CrossMapLRN2d(*given)(leaf)
        (out * t.tensor(weights)).sum().backward()
        made.append((out.detach().numpy(), leaf.grad.numpy()))
    for ours, theirs in zip(*made, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
