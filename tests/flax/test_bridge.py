"""Modules as JAX functions and nnx modules, and the other way round."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

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


class Outer(nnx.Module):
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return self.inner(x)


def test_modes_in_nnx():
    """nnx's eval() reaches it within another module; frozen submodules stay so; the module is left alone."""
    net = model()
    net.drop = torch.nn.Dropout(0.5)
    wrapped = Outer(torch.flax.to_nnx(net, rngs=nnx.Rngs(0)))
    mean = lambda: np.asarray(wrapped.inner.buffers["1.running_mean"][...])  # noqa: E731
    wrapped.eval()
    np.testing.assert_array_equal(wrapped(X), wrapped(X))
    assert not mean().any()
    wrapped.train()
    assert not np.array_equal(wrapped(X), wrapped(X))
    assert mean().all()
    assert net.training and not net[1].running_mean.numpy().any()
    net[1].eval()
    wrapped = torch.flax.to_nnx(net, rngs=nnx.Rngs(0))
    wrapped(X)
    assert not np.asarray(wrapped.buffers["1.running_mean"][...]).any()


def test_modes_of_nnx_modules():
    net = Net(nnx.Rngs(0))
    net.drop.rate = 0.5
    ours = torch.nn.Sequential(torch.flax.from_nnx(net))
    x = torch.tensor(X)
    ours.eval()
    np.testing.assert_allclose(
        ours(x).detach(), nnx.view(net, deterministic=True, use_running_average=True)(X), atol=1e-6
    )
    assert not ours[0].norm.mean.numpy().any()
    ours.train()
    assert not torch.equal(ours(x), ours(x))
    assert ours[0].norm.mean.numpy().all()


class Dense(linen.Module):
    @linen.compact
    def __call__(self, x, train=True):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(x))


def test_linen_through_the_bridge():
    net = nnx.bridge.ToNNX(Dense(), rngs=nnx.Rngs(0, dropout=1))
    nnx.bridge.lazy_init(net, X)
    ours = torch.flax.from_nnx(net)
    assert {"Dense_0.kernel", "BatchNorm_0.scale"} <= dict(ours.named_parameters()).keys()
    x = torch.tensor(X)
    np.testing.assert_allclose(ours(x, train=False).detach(), net(X, train=False), atol=1e-6)
    first, second = (ours(x, mutable=["batch_stats"]) for _ in range(2))
    assert not torch.equal(first, second)
    assert ours.BatchNorm_0.mean.numpy().all()
    second.sum().backward()
    assert ours.Dense_0.kernel.grad is not None


def test_there_and_back_again():
    net = model().eval()
    again = torch.flax.from_nnx(torch.flax.to_nnx(net))
    names = {n.replace("params.", "") for n, _ in again.named_parameters()}
    assert names == {n for n, _ in net.named_parameters()}
    np.testing.assert_allclose(
        again(torch.tensor(X)).detach(), net(torch.tensor(X)).detach(), atol=1e-6
    )


def test_orbax_keeps_parameters(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint", reason="orbax comes with flax")
    pure, params = torch.to_jax(model().eval())
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "params", params)
        checkpointer.wait_until_finished()
        back = checkpointer.restore(tmp_path / "params")
    np.testing.assert_array_equal(pure(back, X), pure(params, X))


def test_optax_trains_a_pure_function_as_the_module_trains():
    optax = pytest.importorskip("optax", reason="flax's training loops use optax")
    net = model()
    pure, params = torch.to_jax(net)
    buffers, rule = pure.buffers, optax.adam(0.01)
    state = rule.init(params)

    def loss_of(params, buffers):
        out, buffers = pure(params, X, buffers=buffers, mutable=True)
        return (out**2).mean(), buffers

    @jax.jit
    def step(params, buffers, state):
        (loss, buffers), grads = jax.value_and_grad(loss_of, has_aux=True)(params, buffers)
        updates, state = rule.update(grads, state)
        return optax.apply_updates(params, updates), buffers, state, loss

    own = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(20):
        params, buffers, state, theirs = step(params, buffers, state)
        own.zero_grad()
        loss = net(torch.tensor(X)).pow(2).mean()
        loss.backward()
        own.step()
        np.testing.assert_allclose(theirs, loss.item(), rtol=1e-3)
    np.testing.assert_allclose(buffers["1.running_var"], net[1].running_var.numpy(), rtol=1e-3)


def test_flax_is_imported_only_when_asked_for():
    code = "import sys, funtorch; funtorch.to_jax; assert not {'flax', 'optax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
