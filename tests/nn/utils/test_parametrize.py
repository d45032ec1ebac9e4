"""Computed parameters, norms by hooks, and fusion, against PyTorch with equal weights."""

import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

FILL = 0.1


def filled(lib, layer):
    """The layer with weights that both libraries share."""
    with lib.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(((lib.arange(float(p.numel())) * 7 + i) % 11 - 5).reshape(p.shape) * FILL)
    return layer


def linear(lib):
    return filled(lib, lib.nn.Linear(4, 3))


def convolution(lib):
    return filled(lib, lib.nn.Conv2d(2, 3, 2))


def inputs(lib, layer):
    shape = (5, 4) if isinstance(layer, lib.nn.Linear) else (2, 2, 4, 4)
    count = 80 if len(shape) == 2 else 64
    return (lib.arange(float(count)) % 7 - 3)[: 20 if len(shape) == 2 else 64].reshape(shape)


def close(a, b):
    torch.testing.assert_close(torch.tensor(a.tolist()), b.detach(), rtol=1e-5, atol=1e-5)


def run(lib, layer):
    out = layer(inputs(lib, layer))
    out.square().sum().backward()
    return out, {n: p.grad for n, p in layer.named_parameters()}


def agree(change, make):
    ours, theirs = change(funtorch, make(funtorch)), change(torch, make(torch))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    out, grads = run(funtorch, ours)
    expected, expected_grads = run(torch, theirs)
    close(out, expected)
    assert grads.keys() == expected_grads.keys()
    for name, grad in expected_grads.items():
        close(grads[name], grad)
    return ours, theirs


@pytest.mark.parametrize("make", [linear, convolution])
def test_weight_norm_as_parametrization(make):
    ours, theirs = agree(lambda lib, m: lib.nn.utils.parametrizations.weight_norm(m), make)
    for lib, m in ((funtorch, ours), (torch, theirs)):
        lib.nn.utils.parametrize.remove_parametrizations(m, "weight")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    close(ours.weight, theirs.weight)


@pytest.mark.parametrize("make", [linear, convolution])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_by_hook(make):
    ours, theirs = agree(lambda lib, m: lib.nn.utils.weight_norm(m, dim=0), make)
    for lib, m in ((funtorch, ours), (torch, theirs)):
        lib.nn.utils.remove_weight_norm(m)
    close(ours.weight, theirs.weight)


@pytest.mark.parametrize("make", [linear, convolution])
def test_spectral_norm_draws_the_same_vectors(make):
    def change(lib, m):
        lib.manual_seed(3)
        return lib.nn.utils.parametrizations.spectral_norm(m)

    agree(change, make)


@pytest.mark.parametrize("make", [linear, convolution])
def test_spectral_norm_by_hook(make):
    def change(lib, m):
        lib.manual_seed(3)
        return lib.nn.utils.spectral_norm(m)

    ours, theirs = agree(change, make)
    for lib, m in ((funtorch, ours), (torch, theirs)):
        lib.nn.utils.remove_spectral_norm(m)
    close(ours.weight, theirs.weight)


@pytest.mark.parametrize("how", ["matrix_exp", "cayley", "householder"])
def test_orthogonal_rows(how):
    layer = funtorch.nn.utils.parametrizations.orthogonal(linear(funtorch), orthogonal_map=how)
    product = layer.weight @ layer.weight.T
    torch.testing.assert_close(torch.tensor(product.tolist()), torch.eye(3), rtol=1e-4, atol=1e-4)
    layer(funtorch.ones(2, 4)).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None


def test_own_parametrization_is_cached_and_can_be_assigned():
    calls = []

    class Symmetric(funtorch.nn.Module):
        def forward(self, x):
            calls.append(1)
            return x.triu() + x.triu(1).T

        def right_inverse(self, x):
            return x.triu()

    layer = funtorch.nn.Linear(3, 3)
    parametrize = funtorch.nn.utils.parametrize
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert parametrize.is_parametrized(layer, "weight")
    assert type(layer).__name__ == "ParametrizedLinear"
    calls.clear()
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert len(calls) == 1
    layer.weight = funtorch.ones(3, 3)
    assert layer.weight.tolist() == [[1.0] * 3] * 3
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(layer, "nothing", Symmetric())


def test_fusion_keeps_the_output():
    def build(lib):
        torch_like = lib.nn.Sequential(convolution(lib), lib.nn.BatchNorm2d(3))
        with lib.no_grad():
            torch_like[1].running_mean.copy_(lib.arange(3.0))
            torch_like[1].running_var.copy_(lib.arange(3.0) + 1)
        return torch_like.eval()

    net = build(funtorch)
    fused = funtorch.nn.utils.fuse_conv_bn_eval(net[0], net[1])
    expected = torch.nn.utils.fuse_conv_bn_eval(*build(torch))
    close(fused.weight, expected.weight)
    close(fused.bias, expected.bias)
    x = inputs(funtorch, net[0])
    close(fused(x), torch.tensor(net(x).tolist()))
