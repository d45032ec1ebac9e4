"""Pruning and attention with a score function, against PyTorch."""

import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


@pytest.fixture(autouse=True, scope="module")
def submodules():
    """PyTorch imports these only on request."""
    pytest.importorskip("torch.nn.utils.prune")
    pytest.importorskip("torch.nn.attention.flex_attention")


def linear(lib):
    layer = lib.nn.Linear(4, 3)
    with lib.no_grad():
        layer.weight.copy_(((lib.arange(12.0) * 7) % 13 - 6.25).reshape(3, 4))
        layer.bias.zero_()
    return layer


CASES = {
    "l1": lambda p, m: p.l1_unstructured(m, "weight", 5),
    "fraction": lambda p, m: p.l1_unstructured(m, "weight", 0.25),
    "rows": lambda p, m: p.ln_structured(m, "weight", 1, n=2, dim=0),
    "columns": lambda p, m: p.ln_structured(m, "weight", 0.5, n=1, dim=1),
    "twice": lambda p, m: p.l1_unstructured(p.l1_unstructured(m, "weight", 3), "weight", 4),
    "nothing": lambda p, m: p.identity(m, "weight"),
    "mask": lambda p, m: p.custom_from_mask(m, "weight", (m.weight > 0).detach()),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_prunes_the_same_elements(case):
    found = []
    for lib in (funtorch, torch):
        prune = lib.nn.utils.prune
        layer = case(prune, linear(lib))
        out = layer(lib.ones(2, 4))
        out.sum().backward()
        before = [layer.weight.tolist(), out.tolist(), layer.weight_orig.grad.tolist()]
        assert prune.is_pruned(layer)
        names = sorted(layer.state_dict())
        prune.remove(layer, "weight")
        found.append([before, names, sorted(layer.state_dict()), layer.weight.tolist()])
    assert found[0] == found[1]


def test_prunes_over_several_layers():
    found = []
    for lib in (funtorch, torch):
        prune = lib.nn.utils.prune
        layers = [linear(lib), linear(lib)]
        with lib.no_grad():
            layers[1].weight.mul_(0.1)
        pairs = [(layer, "weight") for layer in layers]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=13)
        found.append([layer.weight_mask.tolist() for layer in layers])
    assert found[0] == found[1]


def test_refuses_amounts_that_mean_nothing():
    prune = funtorch.nn.utils.prune
    with pytest.raises(ValueError, match="amount=-1"):
        prune.l1_unstructured(linear(funtorch), "weight", -1)
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(linear(funtorch), "weight")


def flex(lib):
    attention = lib.nn.attention.flex_attention
    q, k, v = (((lib.arange(48.0) * f) % 11 - 5).reshape(1, 2, 6, 4) / 5 for f in (3, 5, 7))

    def bias(score, b, h, i, j):
        return score + (i - j) * (h + 1) * 0.1

    def causal(b, h, i, j):
        return i >= j

    mask = attention.create_block_mask(causal, None, None, 6, 6, device="cpu", BLOCK_SIZE=6)
    with lib.nn.attention.sdpa_kernel(lib.nn.attention.SDPBackend.MATH):
        return attention.flex_attention(q, k, v, score_mod=bias, block_mask=mask)


@pytest.mark.filterwarnings("ignore")
def test_flex_attention_agrees():
    torch.testing.assert_close(torch.tensor(flex(funtorch).tolist()), flex(torch))
