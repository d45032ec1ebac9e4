"""Modules as JAX functions and nnx modules, and the other way round."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import funtorch as torch

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.GELU(), torch.nn.Linear(8, 2)
    )


def test_forward_gradient_and_buffers():
    net = model()
    pure, params = torch.to_jax(net)

    def loss(p):
        out, buffers = pure(p, X, mutable=True)
        return (out**2).sum(), buffers

    (value, buffers), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert net[1].num_batches_tracked.item() == 0  # tracing left the module alone
    out = net(torch.tensor(X)).pow(2).sum()
    out.backward()
    np.testing.assert_allclose(value, out.item(), rtol=1e-5)
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(grads[name], parameter.grad.numpy(), atol=1e-5)
    for name, buffer in net.named_buffers():
        np.testing.assert_allclose(buffers[name], buffer.numpy(), rtol=1e-6)


def test_vmap_and_shared_weights():
    net = model().eval()
    net.again = net[0]
    pure, params = torch.to_jax(net[:3])
    rows = jax.vmap(lambda row: pure(params, row[None])[0])(X)
    np.testing.assert_allclose(rows, net[:3](torch.tensor(X)).detach().numpy(), atol=1e-6)


def test_integers_inside_a_jit_of_32_bits():
    net = torch.nn.Sequential(
        torch.nn.Embedding(9, 4), torch.nn.MaxPool1d(2), torch.nn.Flatten(), torch.nn.Linear(6, 2)
    )
    pure, params = torch.to_jax(net)
    tokens = np.arange(6).reshape(2, 3) % 9
    want = net(torch.from_numpy(tokens)).detach().numpy()
    np.testing.assert_allclose(jax.jit(pure)(params, tokens), want, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(lambda t: pure(params, t[None])[0]))(tokens), want, atol=1e-6
    )
    grads = jax.jit(jax.grad(lambda p: pure(p, tokens).sum()))(params)
    net(torch.from_numpy(tokens)).sum().backward()
    np.testing.assert_allclose(grads["0.weight"], net[0].weight.grad, atol=1e-6)
    double = torch.nn.Linear(4, 2).double()
    pure, params = torch.to_jax(double)
    assert pure(params, X.astype("float64")).dtype == np.float64


def test_draws_need_a_key():
    pure, params = torch.to_jax(torch.nn.Dropout(0.5))
    with pytest.raises(RuntimeError, match="rng="):
        pure(params, jnp.ones(100))
    first, second = (pure(params, jnp.ones(100), rng=jax.random.key(i)) for i in (0, 1))
    assert set(np.unique(first)) == {0, 2} and not np.array_equal(first, second)


def test_writes_to_strangers_are_refused():
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = [torch.zeros(())]

        def forward(self, x):
            self.calls[0].add_(1)
            return x

    net = Counting()
    pure, params = torch.to_jax(net)
    with pytest.raises(RuntimeError, match="neither"):
        pure(params, jnp.ones(1))
    assert net.calls[0].item() == 0


def test_a_jax_function_is_an_op():
    op = torch.from_jax(lambda x, scale: {"y": jnp.sinc(x) * scale + jnp.zeros(3)})
    x = torch.tensor([0.5, 1.5, 2.0], requires_grad=True)
    y = op(x, scale=2.0)["y"]
    assert y.dtype is torch.float32
    y.sum().backward()
    want = jax.grad(lambda v: (jnp.sinc(v) * 2).sum())(jnp.array([0.5, 1.5, 2.0]))
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-5)
    assert torch.from_jax(jnp.add)(torch.ones(2), np.ones(2, "f4")).tolist() == [2, 2]


def test_tensor_in_jax():
    tensor = torch.arange(3.0)
    np.testing.assert_array_equal(jnp.asarray(tensor) * 2, [0, 2, 4])
    tensor.add_(1)
    assert tensor.tolist() == [1, 2, 3]


def test_to_nnx_in_an_nnx_loop():
    optax = pytest.importorskip("optax", reason="flax's training loops use optax")
    net = model()
    wrapped = torch.flax.to_nnx(net)
    optimizer = nnx.Optimizer(wrapped, optax.sgd(0.1), wrt=nnx.Param)

    @nnx.jit
    def step(wrapped, optimizer):
        value, grads = nnx.value_and_grad(lambda m: (m(X) ** 2).mean())(wrapped)
        optimizer.update(wrapped, grads)
        return value

    own = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        theirs = step(wrapped, optimizer)
        own.zero_grad()
        loss = net(torch.tensor(X)).pow(2).mean()
        loss.backward()
        own.step()
        np.testing.assert_allclose(theirs, loss.item(), rtol=1e-4)
    np.testing.assert_allclose(
        wrapped.buffers["1.running_mean"][...], net[1].running_mean.numpy(), atol=1e-5
    )
    before = wrapped.params["0.weight"][...]
    np.testing.assert_array_equal(wrapped.write_back()[0].weight.detach().numpy(), before)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.0, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))


def test_from_nnx_in_a_loop_of_ours():
    net = Net(nnx.Rngs(0))
    ours = torch.flax.from_nnx(net)
    assert {"first.kernel", "norm.scale", "last.bias"} <= dict(ours.named_parameters()).keys()
    out = ours(torch.tensor(X))
    np.testing.assert_allclose(out.detach().numpy(), net(X), atol=1e-5)
    np.testing.assert_allclose(ours.norm.mean.numpy(), net.norm.mean[...], rtol=1e-5)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = ours(torch.tensor(X)).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    ours.write_back(net)
    np.testing.assert_array_equal(net.first.kernel[...], ours.first.kernel.detach().numpy())


def test_flax_is_imported_only_when_asked_for():
    code = "import sys, funtorch; funtorch.to_jax; assert 'flax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
