"""torch.compile against PyTorch's: wrapper, names, one program per call."""

import copy

import numpy as np
import pytest
from funtorch.lowering import settings, stats

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def model(lib, depth=20):
    lib.manual_seed(0)
    layers = [m for _ in range(depth) for m in (lib.nn.Linear(4, 4), lib.nn.Tanh())]
    return lib.nn.Sequential(*layers)


def test_names_are_pytorchs():
    ours, theirs = (lib.compile(model(lib, 2)) for lib in (funtorch, torch))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert type(ours).__name__ == type(theirs).__name__
    assert len(ours) == len(theirs)
    assert isinstance(ours, funtorch.nn.Module)
    ours.eval()
    assert ours._orig_mod.training is ours.training is False
    ours.mark = 3
    assert ours._orig_mod.mark == ours.mark == 3
    ours.load_state_dict(ours.state_dict())


def test_call_is_one_program_and_right():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    plain, compiled = model(funtorch), funtorch.compile(model(funtorch), mode="reduce-overhead")
    with funtorch.no_grad():
        before = stats.compilations
        got = compiled(funtorch.tensor(x)).numpy()
        if settings.mode != "eager":
            assert stats.compilations - before == 1
        np.testing.assert_allclose(got, plain(funtorch.tensor(x)).numpy(), rtol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(got, model(torch)(torch.tensor(x)).numpy(), atol=1e-6)


def test_training_through_it():
    plain = model(funtorch, 2)
    compiled = funtorch.compile(copy.deepcopy(plain))
    losses = []
    for net in (plain, compiled):
        optimizer = funtorch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = net(funtorch.ones(2, 4)).pow(2).mean()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("arguments", [{}, {"fullgraph": True, "dynamic": True}])
def test_decorator(arguments):
    seen = []

    def plain(x, y=2):
        """doc"""
        seen.append(funtorch.compiler.is_compiling())
        return x * y

    f = funtorch.compile(**arguments)(plain) if arguments else funtorch.compile(plain)
    assert f(funtorch.ones(2), y=3).tolist() == [3, 3]
    assert f.__name__ == "plain" and f.__doc__ == "doc"
    assert seen == [True] and not funtorch.compiler.is_compiling()
    assert funtorch.compile(plain, disable=True) is plain


@pytest.mark.parametrize(
    "arguments", [{"mode": "fast"}, {"mode": "default", "options": {}}, {"backend": "nonsense"}]
)
def test_wrong_arguments(arguments):
    for lib in (funtorch, torch):
        with pytest.raises(RuntimeError):
            lib.compile(lambda x: x, **arguments)


def test_dynamo_basics():
    assert funtorch._dynamo.config.suppress_errors is False
    funtorch._dynamo.config.suppress_errors = True
    funtorch._dynamo.reset()
    funtorch._dynamo.config.suppress_errors = False

    @funtorch._dynamo.disable
    def f(x):
        return x + 1

    assert f(funtorch.zeros(1)).item() == 1
    net = model(funtorch, 1)
    net.compile()
    assert list(net.state_dict()) == ["0.weight", "0.bias"]
    net(funtorch.ones(1, 4))
