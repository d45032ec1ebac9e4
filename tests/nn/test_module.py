"""Modules against PyTorch: same weights from the same seed, same repr, outputs and gradients."""

import copy
import pickle

import numpy as np
import pytest

import funtorch as ft

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

CASES = [
    (lambda t: t.nn.Linear(6, 3), (4, 6)),
    (lambda t: t.nn.Conv1d(6, 4, 3), (2, 6, 8)),
    (lambda t: t.nn.Sequential(t.nn.Linear(6, 5), t.nn.ReLU(), t.nn.LayerNorm(5)), (4, 6)),
    (lambda t: t.nn.BatchNorm1d(6), (4, 6)),
    (lambda t: t.nn.ConstantPad1d(2, 3.5), (2, 3, 4)),
    (lambda t: t.nn.ZeroPad2d((1, -1, 2, 0)), (2, 3, 4, 4)),
    (lambda t: t.nn.ReflectionPad2d(2), (2, 3, 4, 4)),
    (lambda t: t.nn.ReplicationPad1d((1, 3)), (2, 3, 4)),
    (lambda t: t.nn.CircularPad2d((1, 2, 0, 3)), (2, 3, 4, 4)),
    (lambda t: t.nn.PixelShuffle(2), (2, 8, 3, 3)),
    (lambda t: t.nn.PixelUnshuffle(2), (2, 2, 4, 6)),
    (lambda t: t.nn.ChannelShuffle(2), (2, 6, 3)),
]


def run(t, make, shape):
    t.manual_seed(3)
    module = make(t)
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x = t.tensor(data.tolist(), requires_grad=True)
    y = module(x)
    (y * y).sum().backward()
    grads = [x.grad, *(p.grad for p in module.parameters())]
    state = {k: v.tolist() for k, v in module.state_dict().items()}
    return repr(module), state, y.tolist(), [g.tolist() for g in grads]


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_like_pytorch(make, shape):
    mine, theirs = run(ft, make, shape), run(torch, make, shape)
    assert mine[0] == theirs[0]
    assert mine[1].keys() == theirs[1].keys()
    for name, value in theirs[1].items():
        np.testing.assert_allclose(mine[1][name], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mine[2], theirs[2], rtol=1e-4, atol=1e-5)
    for a, b in zip(mine[3], theirs[3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["CosineSimilarity", "PairwiseDistance"])
def test_distances(name):
    a, b = np.random.default_rng(1).standard_normal((2, 4, 6)).astype(np.float32).tolist()
    mine = getattr(ft.nn, name)()(ft.tensor(a), ft.tensor(b))
    theirs = getattr(torch.nn, name)()(torch.tensor(a), torch.tensor(b))
    np.testing.assert_allclose(mine.tolist(), theirs.tolist(), rtol=1e-5)


def test_hooks_and_state():
    net = ft.nn.Sequential(ft.nn.Linear(2, 2))
    seen = []
    handle = net.register_forward_hook(lambda m, i, o: seen.append("forward"))
    net.register_full_backward_hook(lambda m, gi, go: seen.append("backward"))
    net(ft.ones(1, 2, requires_grad=True)).sum().backward()
    handle.remove()
    net(ft.ones(1, 2))
    assert seen == ["forward", "backward"]
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict({})
    for twin in (copy.deepcopy(net[0]), pickle.loads(pickle.dumps(net[0]))):
        assert twin.weight.tolist() == net[0].weight.tolist()
        assert twin.weight is not net[0].weight
