"""torch.compile without gradients: calls that skip Python, and what must bring Python back."""

import copy

import numpy as np
import pytest
from funtorch.lowering import settings

import funtorch as torch
from funtorch import dispatch

F, nn = torch.nn.functional, torch.nn
pytestmark = pytest.mark.skipif(settings.mode == "eager", reason="eager: everything runs in Python")
SCALE = 2.0
LOG: list[int] = []


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
        self.power, self.widths, self.act = 2, [1, 2], F.relu

    @property
    def factor(self):
        return self.helper(self.widths)

    def helper(self, widths):
        return sum(widths)

    def forward(self, x, *, shift=0.0):
        x = self.act(self.body(x)) ** self.power
        return {"z": x * SCALE * self.factor + shift, "a": (x.sum(0), len(self.widths))}


def swap(m):
    m.body[0] = nn.Linear(4, 4, bias=False)


def step(m):
    for p in m.parameters():
        p.sub_(0.1 * torch.ones_like(p))


CHANGES = {
    "weights in place": step,
    "weights replaced": lambda m: m.body[0].load_state_dict(nn.Linear(4, 4).state_dict(), assign=True),
    "a buffer": lambda m: m.body[2].running_mean.add_(1),
    "a submodule": swap,
    "an attribute": lambda m: setattr(m, "power", 3),
    "another type of number": lambda m: setattr(m, "power", 2.5),
    "an element": lambda m: m.widths.__setitem__(0, 5),
    "a function": lambda m: setattr(m, "act", F.gelu),
    "a hook": lambda m: m.body.register_forward_hook(lambda m, i, o: o * 2) and None,
    "a global name": lambda m: globals().__setitem__("SCALE", SCALE + 1),
    "a method": lambda m: setattr(Net, "helper", lambda self, widths: 7.0),
    "the instance's forward": lambda m: setattr(m.body[0], "forward", lambda x: x),
    "dtype": lambda m: m.double(),
    "nothing": lambda m: None,
}  # fmt: skip


def same(a, b):
    assert list(a) == list(b) and a["a"][1] == b["a"][1]
    assert a["z"].dtype == b["z"].dtype
    for one, two in ((a["z"], b["z"]), (a["a"][0], b["a"][0])):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_is_noticed(change, monkeypatch):
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    monkeypatch.setattr(Net, "helper", Net.helper)
    torch.manual_seed(0)
    net = Net().eval()
    fast, x = torch.compile(net), torch.randn(3, 4)
    with torch.no_grad():
        fast(x)
        with monkeypatch.context() as patch:  # no op is recorded any more
            patch.delattr(dispatch, "record")
            found = fast(x)
        same(found, net(x))
        CHANGES[change](net)
        x = x.to(next(net.parameters()).dtype)
        for _ in range(2):
            same(fast(x), net(x))
        same(fast(x, shift=1.5), net(x, shift=1.5))
        same(fast(x[:2].t()[:, :1].t()), net(x[:2].t()[:, :1].t()))
    assert fast(x)["z"].requires_grad


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls, self.log = 0, []

    def attribute(self, x):
        self.calls += 1
        return x + self.calls

    def append(self, x):
        self.log.append(1)
        return x + len(self.log)

    def forward(self, x):
        return self.attribute(x)


def logs(x):
    LOG.append(1)
    return x + len(LOG)


def test_side_effects_happen_each_time():
    counts, local = Counts(), []

    def closure(x):
        local.append(1)
        return x + len(local)

    def inner(x):
        return closure(x)

    x = torch.zeros(2)
    with torch.no_grad():
        for f in (counts, counts.append, logs, closure, inner):
            fast = torch.compile(f)
            got = [fast(x).tolist()[0] for _ in range(3)]
            assert got == [got[0], got[0] + 1, got[0] + 2]


def test_memory_is_shared_as_without():
    weight = nn.Parameter(torch.ones(4))

    class Keeps(nn.Module):
        def __init__(self, call):
            super().__init__()
            self.weight, self.call = weight, call

        def forward(self, x):
            return self.call(self, x)

    def itself(m, x):
        return x

    def view(m, x):
        return x.view(2, 2)

    def parameter(m, x):
        return m.weight

    def inplace(m, x):
        return x.add_(1) * 2

    def twice(m, x):
        y = x + 1
        return y, y

    with torch.no_grad():
        for call in (itself, view, parameter, inplace, twice):
            fast, x, y = torch.compile(Keeps(call)), torch.ones(4), torch.ones(4)
            for _ in range(3):
                one, two = fast(x), Keeps(call)(y)
                one, other = one if isinstance(one, tuple) else (one, None)
                one.add_(1)
                (two[0] if isinstance(two, tuple) else two).add_(1)
                assert x.tolist() == y.tolist()
                assert other is None or other is one
            weight.fill_(1)


def test_modes_and_randomness():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    fast, x = torch.compile(net), torch.ones(2, 4)
    with torch.no_grad():
        for train in (False, True, False):
            net.train(train)
            for _ in range(2):
                torch.manual_seed(1)
                want = net(x)
                torch.manual_seed(1)
                assert fast(x).tolist() == want.tolist()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert fast(x).dtype == torch.bfloat16
        assert fast(x).dtype == torch.float32
        with pytest.raises(RuntimeError):
            fast(torch.ones(2, 5))
    with torch.inference_mode():
        assert fast(x).is_inference()
    twin = copy.deepcopy(fast)
    assert twin(x).shape == (2, 4)
    torch.compiler.reset()
    with torch.no_grad():
        assert fast(x).tolist() == net(x).tolist()
