"""torch.compile with gradients: calls that skip Python, equal to those that do not."""

import copy

import numpy as np
import pytest
from funtorch.lowering import settings

import funtorch as torch
from funtorch import dispatch

F, nn = torch.nn.functional, torch.nn
pytestmark = pytest.mark.skipif(settings.mode == "eager", reason="eager: everything runs in Python")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh())
        self.head = nn.Linear(6, 2)
        self.unused = nn.Parameter(torch.ones(1))

    def forward(self, x, scale=1.0):
        h = self.body(x) * scale
        gate = (h * h).detach() + 1
        return {"logits": self.head(h * gate), "turned": h.t(), "constant": h.detach() + 1}


def twins():
    torch.manual_seed(0)
    net = Net()
    other = copy.deepcopy(net)
    return net, other, torch.compile(other)


def gradients(net):
    return {n: None if p.grad is None else p.grad.numpy() for n, p in net.named_parameters()}


def same(a, b):
    assert a.keys() == b.keys()
    for name, x in a.items():
        assert (x is None) == (b[name] is None), name
        if x is not None:
            np.testing.assert_allclose(b[name], x, rtol=1e-4, atol=1e-5, err_msg=name)


LOSSES = {
    "all": lambda out: out["logits"].pow(2).sum() + (out["turned"] * out["constant"].t()).sum(),
    "one": lambda out: out["turned"].sin().sum(),
    "view": lambda out: out["logits"].view(-1)[1:].exp().mean(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_training_is_the_same(loss, monkeypatch):
    plain, inner, fast = twins()
    x = torch.randn(5, 4, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    for i in range(3):
        results = []
        for net, given in ((plain, x), (fast, y)):
            with monkeypatch.context() as patch:
                if net is fast and i:
                    patch.delattr(dispatch, "record")  # no op is recorded by Python
                out = net(given, scale=2.0)
            assert out["logits"].grad_fn is not None and not out["constant"].requires_grad
            LOSSES[loss](out).backward()
            results.append({**gradients(net), "x": given.grad.numpy()})
        assert type(out["logits"].grad_fn).__name__ == "CompiledFunctionBackward"
        assert out["turned"].stride() == plain(x)["turned"].stride()
        fast(y)
        same(*({k.removeprefix("_orig_mod."): v for k, v in r.items()} for r in results))
        same(
            {n: b.numpy() for n, b in plain.named_buffers()},
            {n: b.numpy() for n, b in inner.named_buffers()},
        )


def test_gradients_of_gradients_and_hooks():
    plain, inner, fast = twins()
    x, found, seen = torch.randn(5, 4), [], []
    for net, own in ((plain, plain), (fast, inner)):
        own.head.weight.register_hook(lambda g: seen.append(g.sum().item()) or 2 * g)
        given = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(net(given)["logits"].sum(), given, create_graph=True)
        (first.pow(2).sum() + net(given)["logits"].sum()).backward()
        found.append({**gradients(own), "x": given.grad.numpy()})
    same(*found)
    assert seen[0] == pytest.approx(seen[1]) and len(seen) == 2


def test_what_changes_is_noticed():
    plain, inner, fast = twins()
    x = torch.randn(5, 4)
    fast(x), fast(x)
    for net in (plain, inner):
        net.head.weight.requires_grad_(False)
    for net in (plain, fast):
        LOSSES["all"](net(x)).backward()
    same(gradients(plain), gradients(inner))
    assert inner.head.weight.grad is None
    out = fast(x)["logits"].sum()
    with torch.no_grad():
        inner.head.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()
    out = fast(x)["logits"].sum()
    out.backward(retain_graph=True)
    out.backward()
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()
    plain.eval(), fast.eval()
    with torch.no_grad():
        inner.head.weight.copy_(plain.head.weight)
        inner.load_state_dict(plain.state_dict())
    np.testing.assert_allclose(fast(x)["logits"].detach(), plain(x)["logits"].detach(), rtol=1e-5)


def test_writes_without_gradient():
    @torch.compile
    def f(w):
        y = w * 3
        z = y.detach()[:1]
        z.mul_(2)
        return (y * y).sum()

    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        w.grad = None
        f(w).backward()
        assert w.grad.tolist() == [36.0, 36.0]
