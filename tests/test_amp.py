"""Mixed precision: autocast's dtypes, gradients, and the scaler, against PyTorch."""

import pytest
from funtorch.lowering import settings, stats

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def kinds(lib):
    x, w = lib.ones(2, 3), lib.ones(3, 4)
    found = {}
    with lib.autocast("cpu", dtype=lib.bfloat16):
        product = x @ w
        found["matmul"] = product.dtype
        found["linear"] = lib.nn.functional.linear(x, w.t()).dtype
        found["add"] = (product + 1).dtype
        found["cat"] = lib.cat([product, lib.ones(1, 4)]).dtype
        found["double"] = (x.double() @ w.double()).dtype
        found["loss"] = lib.nn.functional.mse_loss(product, product).dtype
        found.update(_full(lib, product))
        with lib.autocast("cpu", enabled=False):
            found["inner"] = (x @ w).dtype
        found["enabled"] = lib.is_autocast_enabled("cpu")
    found["outside"] = (x @ w).dtype
    return {k: str(v) for k, v in found.items()}


def _full(lib, x):
    """What autocast computes in float32 on the CPU, of x in half precision. [2, 4]"""
    f, signs, targets = lib.nn.functional, lib.ones(2).bfloat16(), lib.tensor([1, 3])
    image = x.reshape(1, 1, 2, 2, 2)
    made = {
        "cross_entropy": f.cross_entropy(x, targets),
        "nll": f.nll_loss(x, targets),
        "soft_margin": f.soft_margin_loss(x, x),
        "hinge": f.hinge_embedding_loss(x, x),
        "cosine": f.cosine_embedding_loss(x, x, signs),
        "triplet": f.triplet_margin_loss(x, x, negative=x),
        "prod": x.prod(),
        "pool": f.adaptive_avg_pool3d(image, 1),
        "softmax": x.softmax(-1),
        "layer_norm": f.layer_norm(x, (4,)),
    }
    return {name: t.dtype for name, t in made.items()}


def gradients(lib):
    layer = lib.nn.Linear(3, 2)
    with lib.no_grad():
        layer.weight.copy_(lib.arange(6.0).reshape(2, 3) / 8)
        layer.bias.zero_()
    with lib.autocast("cpu", dtype=lib.bfloat16):
        loss = layer(lib.arange(12.0).reshape(4, 3) / 4).float().square().mean()
    loss.backward()
    return [str(layer.weight.grad.dtype), layer.weight.grad.tolist(), layer.bias.grad.tolist()]


def scaled(lib, values, optimizer):
    """Steps with a scaler; an infinite input makes one of them overflow."""
    layer = lib.nn.Linear(2, 1, bias=False)
    with lib.no_grad():
        layer.weight.fill_(0.5)
    opt = optimizer(lib, layer.parameters())
    scaler = lib.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    out = []
    for value in values:
        opt.zero_grad()
        scaler.scale(layer(lib.full((1, 2), value)).sum()).backward()
        scaler.step(opt)
        scaler.update()
        out.append((layer.weight.tolist(), scaler.get_scale()))
    return out, scaler.state_dict()


OPTIMIZERS = {
    "sgd": lambda lib, p: lib.optim.SGD(p, 0.1, momentum=0.9),
    "adam": lambda lib, p: lib.optim.Adam(p, 0.1),
    "nadam": lambda lib, p: lib.optim.NAdam(p, 0.1),
}


def test_autocast_chooses_dtypes_as_pytorch():
    assert kinds(funtorch) == kinds(torch)


def test_gradients_go_through_the_casts():
    ours, theirs = gradients(funtorch), gradients(torch)
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("values", [(1.0, 2.0, float("inf"), 3.0), (float("inf"), 1.0, 2.0)])
def test_scaler_skips_and_grows_as_pytorch(values, optimizer):
    ours, theirs = scaled(funtorch, values, optimizer), scaled(torch, values, optimizer)
    assert ours[1] == theirs[1]
    for (w, scale), (w_torch, scale_torch) in zip(ours[0], theirs[0], strict=True):
        assert scale == scale_torch
        torch.testing.assert_close(torch.tensor(w), torch.tensor(w_torch))


def test_a_scaled_step_is_one_program(monkeypatch):
    monkeypatch.setattr(settings, "patience", 600.0)  # compile whole steps at once
    layer = funtorch.nn.Linear(4, 4)
    opt = funtorch.optim.Adam(layer.parameters())
    scaler = funtorch.amp.GradScaler("cpu", init_scale=4.0)

    def step():
        opt.zero_grad()
        with funtorch.autocast("cpu"):
            loss = layer(funtorch.ones(2, 4)).float().sum()
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()

    for _ in range(5):
        step()
    before = stats.executions, stats.compilations
    for _ in range(4):
        step()
    assert (stats.executions - before[0], stats.compilations - before[1]) == (4, 0)


def test_custom_function_follows_its_forward():
    class Double(funtorch.autograd.Function):
        @staticmethod
        @funtorch.amp.custom_fwd(device_type="cpu", cast_inputs=funtorch.float32)
        def forward(ctx, x):
            ctx.kind = x.dtype
            return x * 2

        @staticmethod
        @funtorch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            assert not funtorch.is_autocast_enabled("cpu")
            return g * 2

    x = funtorch.ones(2, dtype=funtorch.bfloat16, requires_grad=True)
    with funtorch.autocast("cpu"):
        y = Double.apply(x)
    y.sum().backward()
    assert y.dtype is funtorch.float32
    assert x.grad.tolist() == [2.0, 2.0]


def test_refusals():
    with pytest.raises(RuntimeError, match="unsupported autocast device_type"):
        funtorch.autocast("abacus")
    with pytest.raises(AssertionError, match="growth factor"):
        funtorch.amp.GradScaler("cpu", growth_factor=0.5)
    scaler = funtorch.amp.GradScaler("cpu")
    with pytest.raises(AssertionError, match="_scale is None"):
        scaler.update()
