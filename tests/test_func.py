"""torch.func, nested in several orders, beside real PyTorch."""

import copy

import jax
import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def f(x):
    return (x.sin() * x).sum()


CASES = {
    "grad": lambda lib, x: lib.func.grad(f)(x),
    "grad and value": lambda lib, x: lib.func.grad_and_value(f)(x)[1],
    "aux": lambda lib, x: lib.func.grad(lambda v: (f(v), v * 2), has_aux=True)(x)[1],
    "argnums": lambda lib, x: lib.func.grad(lambda a, b: f(a * b), argnums=(0, 1))(x, x + 1)[1],
    "vjp": lambda lib, x: lib.func.vjp(lib.exp, x)[1](x)[0],
    "jvp": lambda lib, x: lib.func.jvp(lib.exp, (x,), (x + 1,))[1],
    "jacrev": lambda lib, x: lib.func.jacrev(lib.cos)(x),
    "jacfwd": lambda lib, x: lib.func.jacfwd(lib.cos)(x),
    "hessian": lambda lib, x: lib.func.hessian(f)(x),
    "vmap": lambda lib, x: lib.func.vmap(lambda a: a * a.sum())(x.reshape(2, 2)),
    "in dims": lambda lib, x: lib.func.vmap(lib.dot, in_dims=(1, None))(x.reshape(2, 2), x[:2]),
    "out dims": lambda lib, x: lib.func.vmap(lambda a: a * 2, out_dims=1)(x.reshape(2, 2)),
    "vmap of grad": lambda lib, x: lib.func.vmap(lib.func.grad(f))(x.reshape(2, 2)),
    "grad of vmap": lambda lib, x: lib.func.grad(
        lambda v: lib.func.vmap(lambda a: a.exp())(v.reshape(2, 2)).sum()
    )(x),
    "grad of grad": lambda lib, x: lib.func.grad(lambda v: lib.func.grad(f)(v).sum())(x),
    "jvp of grad": lambda lib, x: lib.func.jvp(lib.func.grad(f), (x,), (x,))[1],
    "vmap of jvp": lambda lib, x: lib.func.vmap(lambda t: lib.func.jvp(lib.sin, (x,), (t,))[1])(
        lib.eye(4)
    ),
    "linearize": lambda lib, x: lib.func.linearize(lib.sin, x)[1](x),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees(name):
    data = [0.5, -1.0, 2.0, 0.1]
    ours, theirs = (
        CASES[name](lib, lib.tensor(data)).detach().numpy() for lib in (funtorch, torch)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_tape_goes_through_transforms():
    grads = []
    for lib in (funtorch, torch):
        w = lib.tensor(2.0, requires_grad=True)
        x = lib.tensor([1.0, 2.0])
        lib.func.grad(lambda v, w=w: (v * v * w).sum())(x).sum().backward()
        grads.append(w.grad.item())
    assert grads[0] == pytest.approx(grads[1])


def test_functional_call_and_ensembles():
    lib = funtorch
    nets = [lib.nn.Linear(3, 2) for _ in range(4)]
    params, buffers = lib.func.stack_module_state(nets)
    x = lib.randn(5, 3)

    def call(p, b, v):
        return lib.func.functional_call(nets[0], (p, b), (v,))

    out = lib.func.vmap(call, in_dims=(0, 0, None))(params, buffers, x)
    expected = lib.stack([net(x) for net in nets])
    np.testing.assert_allclose(out.detach(), expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lib: lib.func.grad(lambda x: x * 2)(lib.ones(3)),
        lambda lib: lib.func.vmap(lambda a, b: a + b)(lib.ones(3), lib.ones(4)),
        lambda lib: lib.func.vmap(lambda a: a, in_dims=2)(lib.ones(3)),
        lambda lib: lib.func.vmap(lambda a: a.item())(lib.ones(3)),
    ],
)
def test_what_is_wrong_is_refused(wrong):
    for lib in (torch, funtorch):
        with pytest.raises((RuntimeError, ValueError)):
            wrong(lib)


def _blocked(lib, w):
    y = w * 3
    with lib.no_grad():
        y.clamp_(max=9.0)
        scale = w.exp()
    z = (y + 1) * scale
    window = z.detach()[:1]
    window.mul_(2)
    return (z * y.detach() + w.data * z).sum()


def test_what_has_no_gradient_in_captured_functions():
    """no_grad, detach and writes under them, wherever JAX takes the gradient instead of the tape."""

    class Blocked(funtorch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = funtorch.nn.Parameter(funtorch.tensor([1.0, 4.0]))

        def forward(self, x):
            return _blocked(funtorch, self.w * x)

    want = torch.func.grad(lambda w: _blocked(torch, w))(torch.tensor([1.0, 4.0])).tolist()
    ones, net = funtorch.ones(2), Blocked()
    found = [funtorch.func.grad(lambda w: _blocked(funtorch, w))(net.w.detach())]
    for made in (
        net,
        funtorch.export.export(net, (ones,)).module(),
        funtorch.jit.script(copy.deepcopy(net)).compile(ones),
    ):
        made.zero_grad()
        made(ones).backward()
        found.append(next(made.parameters()).grad)
    pure, params = funtorch.to_jax(net)
    found.append(jax.grad(lambda p: pure(p, np.ones(2, "f")))(params)["w"])
    for gradient in found:
        np.testing.assert_allclose(np.asarray(gradient), want, rtol=1e-6)
