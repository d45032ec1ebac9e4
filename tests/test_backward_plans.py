"""Plans of backward passes: what they record is what the engine's walk records."""

import pytest
from funtorch.lowering.record import owner

import funtorch as torch
from funtorch import lowering
from funtorch.autograd import engine, plans
from funtorch.nn import functional as F


def branches(w, x):
    h = (x @ w).relu()
    return (h * h).sum() + (h.t() @ h).mean() + w.pow(2).sum()


def dtypes(w, x):
    return (x.double() @ w.double()).float().log_softmax(1).mean() + w.half().float().sum()


def several_outputs(w, x):
    first, _, third = (x @ w).chunk(3, dim=1)
    values, _ = third.sort(dim=1)
    return (first * values).sum() + F.layer_norm(first, (2,)).sum()


def recurrent(w, x):
    h = x
    for _ in range(3):
        h = torch.tanh(h @ w)
    return h.sum()


def trained(function, *, walk, monkeypatch):
    """(gradients of three steps, names of the ops recorded in the last backward pass)."""
    if walk:
        monkeypatch.setattr(engine, "planned", lambda *args: None)
    torch.manual_seed(0)
    w = torch.randn(6, 6).requires_grad_()
    x = torch.randn(4, 6)
    grads = []
    for _ in range(3):
        w.grad = None
        loss = function(w, x)
        trace = owner().traces[loss._value.aval.place]
        before = len(trace.flat)
        loss.backward()
        recorded = trace.flat[before:]
        grads.append(w.grad.clone())
        lowering.flush()
    return grads, recorded


@pytest.mark.parametrize("function", [branches, dtypes, several_outputs, recurrent])
def test_a_plan_records_what_the_walk_records(function, monkeypatch):
    plans._plans.clear()
    planned, own = trained(function, walk=False, monkeypatch=monkeypatch)
    assert any(plan is not None for plan in plans._plans.values())
    walked, theirs = trained(function, walk=True, monkeypatch=monkeypatch)
    assert len(own) == len(theirs)
    for a, b in zip(planned, walked, strict=True):
        assert torch.equal(a, b)


def test_one_plan_serves_every_step():
    plans._plans.clear()
    w = torch.randn(6, 6).requires_grad_()
    for _ in range(4):
        recurrent(w, torch.randn(4, 6)).backward()
    assert len(plans._plans) == 1


def test_gradients_accumulate_through_a_plan():
    w = torch.ones(6, 6, requires_grad=True)
    x = torch.ones(4, 6)
    for count in range(1, 4):
        (x @ w).sum().backward()
        assert torch.equal(w.grad, torch.full((6, 6), 4.0 * count))


def test_hooks_and_changed_values_are_seen_by_the_walk():
    w = torch.ones(3, requires_grad=True)
    h = w * 2
    seen = []
    h.register_hook(seen.append)
    h.sum().backward()
    assert torch.equal(seen[0], torch.ones(3))
    h = w.exp()
    loss = h.sum()
    with torch.no_grad():
        h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_tape_is_spent_once():
    w = torch.ones(3, requires_grad=True)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert torch.equal(w.grad, torch.full((3,), 4.0))
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
