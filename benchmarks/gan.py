"""One step of a small DCGAN: a discriminator's update, then a generator's, both with Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funtorch
from benchmarks.by_hand import batch_norm, conv

NOISE, WIDTH, BATCH = 32, 16, 32
RATE, BETAS, EPS = 2e-4, (0.5, 0.999), 1e-8


def _generator(lib: Any) -> Any:
    nn, w = lib.nn, WIDTH
    return nn.Sequential(
        nn.ConvTranspose2d(NOISE, 4 * w, 4, 1, 0, bias=False), nn.BatchNorm2d(4 * w), nn.ReLU(),
        nn.ConvTranspose2d(4 * w, 2 * w, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * w), nn.ReLU(),
        nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU(),
        nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip


def _discriminator(lib: Any) -> Any:
    nn, w = lib.nn, WIDTH
    return nn.Sequential(
        nn.Conv2d(3, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2),
        nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * w), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * w, 4 * w, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * w), nn.LeakyReLU(0.2),
        nn.Conv2d(4 * w, 1, 4, 1, 0, bias=False),
    )  # fmt: skip


def _data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    real = rng.standard_normal((BATCH, 3, 32, 32)).astype(np.float32)
    return real, rng.standard_normal((BATCH, NOISE, 1, 1)).astype(np.float32)


def torch_step(lib: Any, compiled: Callable[[Any], Any] = lambda model: model) -> Any:
    """The step as PyTorch programs write it."""
    lib.manual_seed(0)
    nets = _generator(lib), _discriminator(lib)
    makers = [lib.optim.Adam(net.parameters(), lr=RATE, betas=BETAS) for net in nets]
    generate, judge = (compiled(net) for net in nets)
    loss_of = lib.nn.functional.binary_cross_entropy_with_logits
    real, noise = (lib.tensor(a) for a in _data())
    ones, zeros = lib.ones(BATCH, 1, 1, 1), lib.zeros(BATCH, 1, 1, 1)

    def step() -> float:
        fake = generate(noise)
        makers[1].zero_grad()
        loss = loss_of(judge(real), ones) + loss_of(judge(fake.detach()), zeros)
        loss.backward()
        makers[1].step()
        makers[0].zero_grad()
        fooled = loss_of(judge(fake), ones)
        fooled.backward()
        makers[0].step()
        return loss.item()

    return step


def jax_step() -> Any:
    """The same by hand: one jit, everything that changes donated."""

    def weights(net: Any) -> dict[str, Any]:
        skipped = ("running_mean", "running_var", "num_batches_tracked")
        state = net.state_dict().items()
        return {k: v.numpy().copy() for k, v in state if not k.endswith(skipped)}

    def spread(x: Any, weight: Any, stride: int, padding: int) -> Any:
        kernel = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), [(3 - padding, 3 - padding)] * 2, lhs_dilation=(stride, stride),
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
        )  # fmt: skip

    def generate(p: Any, noise: Any) -> Any:
        h = spread(noise, p["0.weight"], 1, 0)
        for i in (1, 4, 7):
            h = jax.nn.relu(batch_norm(h, p, str(i)))
            h = spread(h, p[f"{i + 2}.weight"], 2, 1)
        return jnp.tanh(h)

    def judge(p: Any, x: Any) -> Any:
        h = jax.nn.leaky_relu(conv(x, p["0.weight"], 2), 0.2)
        for i in (2, 5):
            h = batch_norm(conv(h, p[f"{i}.weight"], 2), p, str(i + 1))
            h = jax.nn.leaky_relu(h, 0.2)
        return conv(h, p["8.weight"], 1, 0)

    def cross_entropy(logits: Any, label: float) -> Any:
        return jnp.mean(jax.nn.softplus(logits) - label * logits)

    def adam(p: Any, g: Any, state: Any) -> Any:
        count = state[2] + 1
        m = jax.tree.map(lambda a, b: BETAS[0] * a + (1 - BETAS[0]) * b, state[0], g)
        v = jax.tree.map(lambda a, b: BETAS[1] * a + (1 - BETAS[1]) * b * b, state[1], g)
        fixes = [1 - beta**count for beta in BETAS]

        def moved(p: Any, m: Any, v: Any) -> Any:
            return p - RATE * (m / fixes[0]) / (jnp.sqrt(v / fixes[1]) + EPS)

        return jax.tree.map(moved, p, m, v), (m, v, count)

    def update(nets: Any, states: Any, real: Any, noise: Any) -> Any:
        fake, pull = jax.vjp(lambda p: generate(p, noise), nets[0])

        def judged(p: Any) -> Any:
            return cross_entropy(judge(p, real), 1.0) + cross_entropy(judge(p, fake), 0.0)

        loss, grads = jax.value_and_grad(judged)(nets[1])
        judge_net, judge_state = adam(nets[1], grads, states[1])
        fooled = jax.grad(lambda x: cross_entropy(judge(judge_net, x), 1.0))(fake)
        net, state = adam(nets[0], pull(fooled)[0], states[0])
        return (net, judge_net), (state, judge_state), loss

    compiled = jax.jit(update, donate_argnums=(0, 1))
    nets = jax.device_put((weights(_generator(funtorch)), weights(_discriminator(funtorch))))
    states = tuple(
        (jax.tree.map(jnp.zeros_like, net), jax.tree.map(jnp.zeros_like, net), jnp.float32(0))
        for net in nets
    )
    held = [nets, states]
    real, noise = (jnp.asarray(a) for a in _data())

    def step() -> float:
        held[0], held[1], loss = compiled(*held, real, noise)
        return float(loss)

    return step
