"""Initial values to the bit, attention with every argument, and what is done to parameters at large."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

INITS = {
    "uniform_": (-1, 2),
    "normal_": (1, 2),
    "trunc_normal_": (0, 1, -0.5, 0.7),
    "trunc_normal_ far": (0, 1, 2.5, 3.0),
    "constant_": (0.3,),
    "ones_": (),
    "zeros_": (),
    "eye_": (),
    "dirac_": (),
    "xavier_uniform_": (2,),
    "xavier_normal_": (),
    "kaiming_uniform_": (0.1, "fan_out"),
    "kaiming_normal_": (0, "fan_in", "leaky_relu"),
    "orthogonal_": (1.5,),
    "sparse_": (0.3, 0.1),
}
LOOSE = {"orthogonal_"}  # LAPACK's QR


@pytest.mark.parametrize("name", INITS)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_initial_values(name: str) -> None:
    made = []
    for t in (funtorch, torch):
        t.manual_seed(7)
        weight = t.empty((6, 4, 3) if name == "dirac_" else (6, 5))
        assert getattr(t.nn.init, name.split()[0])(weight, *INITS[name]) is weight
        made.append(weight.numpy())
    if name in LOOSE:
        np.testing.assert_allclose(*made, rtol=1e-5, atol=1e-6)
    else:  # but for libm's last digit in normal numbers
        np.testing.assert_array_max_ulp(*made, 16 if "normal" in name or name == "sparse_" else 0)


def test_gains() -> None:
    for kind in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert funtorch.nn.init.calculate_gain(kind) == torch.nn.init.calculate_gain(kind)


ATTENTION = {
    "mask and scale": {"attn_mask": "float", "scale": 0.3},
    "mask of booleans": {"attn_mask": "bool"},
    "causal": {"is_causal": True},
    "groups": {"enable_gqa": True, "attn_mask": "bool"},
    "nothing dropped": {"dropout_p": 0.0, "is_causal": True, "scale": 1.0},
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str) -> None:
    found = []
    for t in (funtorch, torch):
        t.manual_seed(0)
        options = dict(ATTENTION[name])
        heads = 2 if options.get("enable_gqa") else 4
        q, k, v = (t.randn(2, h, 5, 6, requires_grad=True) for h in (4, heads, heads))
        kind = options.pop("attn_mask", None)
        if kind:
            lower = t.ones(5, 5).tril()
            options["attn_mask"] = lower.bool() if kind == "bool" else lower
        out = t.nn.functional.scaled_dot_product_attention(q, k, v, **options)
        (out * out).sum().backward()
        found.append([x.tolist() for x in (out, q.grad, k.grad, v.grad)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_attention_drops_weights() -> None:
    """A fifth of the weights are dropped, and the rest scaled up."""
    q, v = funtorch.zeros(1, 1, 50, 4), funtorch.eye(50).expand(1, 1, 50, 50)
    out = funtorch.nn.functional.scaled_dot_product_attention(q, q, v, dropout_p=0.2)
    kept = out > 0
    np.testing.assert_allclose(out[kept].tolist(), 1 / 50 / 0.8, rtol=1e-5)
    assert 0.15 < 1 - kept.float().mean().item() < 0.25


def net(t, middle="BatchNorm1d"):
    t.manual_seed(0)
    middle = t.nn.Tanh() if middle == "Tanh" else t.nn.BatchNorm1d(4)
    model = t.nn.Sequential(t.nn.Linear(3, 4), middle, t.nn.Linear(4, 2))
    (model(t.arange(12.0).reshape(4, 3)).square().sum() * 10).backward()
    return model


def gradients(model):
    return [p.grad.tolist() for p in model.parameters()]


def clipped(t):
    found = []
    for kind, options in (
        ("clip_grad_norm_", {"max_norm": 0.5}),
        ("clip_grad_norm_", {"max_norm": 0.5, "norm_type": float("inf")}),
        ("clip_grad_norm_", {"max_norm": 0.5, "norm_type": 1}),
        ("clip_grad_value_", {"clip_value": 0.1}),
    ):
        model = net(t, "Tanh")
        norm = getattr(t.nn.utils, kind)(model.parameters(), **options)
        found += [norm if norm is None else norm.tolist(), *gradients(model)]
    model = net(t, "Tanh")
    total = t.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    t.nn.utils.clip_grads_with_norm_(model.parameters(), 0.3, total)
    return [*found, total.tolist(), *gradients(model)]


def vectors(t):
    model = net(t)
    vector = t.nn.utils.parameters_to_vector(model.parameters())
    t.nn.utils.vector_to_parameters(vector.detach() * 2, model.parameters())
    return [vector.tolist(), *(p.tolist() for p in model.parameters())]


def stateless(t):
    model = net(t).eval()
    given = {"0.weight": t.ones(4, 3), "2.bias": t.zeros(2)}
    call = importlib.import_module(f"{t.__name__}.nn.utils.stateless").functional_call
    x = t.ones(1, 3)
    return [call(model, given, (x,)).tolist(), model(x).tolist()]


def averages(t):
    swa = t.optim.swa_utils
    model = net(t)
    plain = swa.AveragedModel(model)
    moving = swa.AveragedModel(model, multi_avg_fn=swa.get_ema_multi_avg_fn(0.9), use_buffers=True)
    for i in range(3):
        with t.no_grad():
            for p in model.parameters():
                p.add_(0.1 * (i + 1))
        plain.update_parameters(model)
        moving.update_parameters(model)
    swa.update_bn([t.arange(12.0).reshape(4, 3), t.ones(4, 3)], plain)
    return [v.tolist() for m in (plain, moving) for v in m.state_dict().values()]


CASES = [clipped, vectors, stateless, averages]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
@pytest.mark.filterwarnings("ignore:.*functional_call:FutureWarning")
def test_agrees(case) -> None:
    for a, b in zip(case(funtorch), case(torch), strict=True):
        if a is None:
            assert b is None
        else:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
