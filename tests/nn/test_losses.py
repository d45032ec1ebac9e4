"""Losses of inputs that are permuted in memory."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

LOSSES = {
    "l1_loss": 2,
    "mse_loss": 2,
    "smooth_l1_loss": 2,
    "huber_loss": 2,
    "soft_margin_loss": 2,
    "hinge_embedding_loss": 2,
    "margin_ranking_loss": 3,
    "kl_div": 2,
    "poisson_nll_loss": 2,
    "binary_cross_entropy_with_logits": 2,
}


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_permuted(name, reduction):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 0.9, (3, 4)).astype(np.float32) for _ in range(LOSSES[name])]

    def run(lib):
        first, *others = map(lib.tensor, arrays)
        rest = [t.t().contiguous() for t in others]
        return getattr(lib.nn.functional, name)(first.t(), *rest, reduction=reduction)

    ours, theirs = run(funtorch), run(torch)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)
