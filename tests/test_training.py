"""Ways of training against real PyTorch: the same losses, and as many programs per step as stated."""

from __future__ import annotations

import numpy as np
import pytest
from funtorch.lowering import settings, stats

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

STEPS, COUNTED = 10, 4


def data(t):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6)), rng.normal(size=(8, 6))
    return t.tensor(x, dtype=t.float32), t.tensor(y, dtype=t.float32)


def mlp(t):
    nn = t.nn
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 6))


def plain(t, net, optimizer, set_to_none=True):
    """One ordinary step after the other."""
    x, y = data(t)
    while True:
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = t.nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        yield loss


def zeroing(set_to_none):
    def loop(t):
        net = mlp(t)
        yield from plain(t, net, t.optim.SGD(net.parameters(), 0.1, momentum=0.9), set_to_none)

    return loop


def accumulation(t):
    net = mlp(t)
    optimizer = t.optim.Adam(net.parameters(), 0.01)
    x, y = data(t)
    while True:
        total = 0.0
        for part, target in zip(x.chunk(4), y.chunk(4), strict=True):
            loss = t.nn.functional.mse_loss(net(part), target) / 4
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        optimizer.zero_grad()
        yield total


def accumulation_over_calls(t):
    """A step of the optimiser every second step of the loop."""
    net = mlp(t)
    optimizer = t.optim.SGD(net.parameters(), 0.1)
    x, y = data(t)
    for i in range(10**6):
        loss = t.nn.functional.mse_loss(net(x + i % 3), y)
        loss.backward()
        if i % 2:
            optimizer.step()
            optimizer.zero_grad()
        yield loss


def averaged(t):
    net = mlp(t)
    average = t.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=t.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    x, _ = data(t)
    for loss in plain(t, net, t.optim.SGD(net.parameters(), 0.1)):
        average.update_parameters(net)
        with t.no_grad():
            yield loss + average(x).sum()


def averaged_by_hand(t):
    net, shadow = mlp(t), mlp(t)
    shadow.load_state_dict(net.state_dict())
    for loss in plain(t, net, t.optim.SGD(net.parameters(), 0.1)):
        with t.no_grad():
            for kept, new in zip(shadow.parameters(), net.parameters(), strict=True):
                kept.mul_(0.9).add_(new, alpha=0.1)
        yield loss + sum(p.detach().sum() for p in shadow.parameters())


def frozen(t):
    net = mlp(t)
    net[0].requires_grad_(False)
    net[2].bias.requires_grad = False
    before = net[0].weight.clone()
    optimizer = t.optim.AdamW([p for p in net.parameters() if p.requires_grad], 0.01)
    for loss in plain(t, net, optimizer):
        assert net[0].weight.grad is None and net[2].bias.grad is None
        yield loss + (net[0].weight - before).abs().sum()


def thawed(t):
    """Frozen for some steps, then not."""
    net = mlp(t)
    net[0].requires_grad_(False)
    optimizer = t.optim.SGD(net.parameters(), 0.1)
    for i, loss in enumerate(plain(t, net, optimizer)):
        if i == 2:
            net[0].requires_grad_(True)
        yield loss


def tied(t):
    """A language model's: the embedding is the last layer's weight."""
    embedding, last = t.nn.Embedding(6, 4), t.nn.Linear(4, 6, bias=False)
    last.weight = embedding.weight
    net = t.nn.Sequential(embedding, last)
    assert len(list(net.parameters())) == 1
    optimizer = t.optim.Adam(net.parameters(), 0.05)
    tokens = t.tensor([0, 1, 2, 3, 4, 5, 1, 0])
    while True:
        optimizer.zero_grad()
        loss = t.nn.functional.cross_entropy(net(tokens), tokens.flip(0))
        loss.backward()
        optimizer.step()
        assert last.weight is embedding.weight
        yield loss


def shared(t):
    """One layer in two places, and one of its parameters in a third."""
    layer, head = t.nn.Linear(6, 6), t.nn.Linear(6, 6)
    head.bias = layer.bias
    net = t.nn.Sequential(layer, t.nn.Tanh(), layer, t.nn.Tanh(), head)
    assert len(list(net.parameters())) == 3
    yield from plain(t, net, t.optim.SGD(net.parameters(), 0.1, momentum=0.9))


def checkpointed(t):
    net = mlp(t)

    class Remade(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            for layers in (self.net[:2], self.net[2:4]):
                x = t.utils.checkpoint.checkpoint(layers, x, use_reentrant=False)
            return self.net[4](x)

    yield from plain(t, Remade(), t.optim.SGD(net.parameters(), 0.1))


def clipped(t):
    net = mlp(t)
    optimizer = t.optim.SGD(net.parameters(), 0.5)
    x, y = data(t)
    while True:
        optimizer.zero_grad()
        loss = t.nn.functional.mse_loss(net(x), y)
        loss.backward()
        norm = t.nn.utils.clip_grad_norm_(net.parameters(), 0.3)
        optimizer.step()
        yield loss + norm


# Programs per step of the loop, once every trace is known. One runs at the optimiser's barrier. What
# these loops compute and read after it is a second; `averaged` calls a module under no_grad, which
# ends with a barrier too.
LOOPS = {
    "zero_grad": (zeroing(True), 1),
    "zero_grad in place": (zeroing(False), 1),
    "accumulation": (accumulation, 1),
    "accumulation over calls": (accumulation_over_calls, 1),
    "averaged": (averaged, 3),
    "averaged by hand": (averaged_by_hand, 2),
    "frozen": (frozen, 2),
    "thawed": (thawed, 1),
    "tied": (tied, 1),
    "shared": (shared, 1),
    "checkpointed": (checkpointed, 1),
    "clipped": (clipped, 2),
}


def losses(t, loop):
    """The losses; and the programs and compilations of the last steps, which nothing else needs."""
    t.manual_seed(0)
    steps = loop(t)
    made = [next(steps).item() for _ in range(STEPS - COUNTED)]
    before = stats.executions, stats.compilations
    made += [next(steps).item() for _ in range(COUNTED)]
    return made, (stats.executions - before[0], stats.compilations - before[1])


@pytest.mark.parametrize("name", LOOPS)
def test_training(name: str, monkeypatch) -> None:
    monkeypatch.setattr(settings, "patience", 600.0)  # whole steps are compiled at once
    loop, programs = LOOPS[name]
    ours, (run, compiled) = losses(funtorch, loop)
    theirs, _ = losses(torch, loop)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)
    assert (run / COUNTED, compiled) == (programs, 0)
