"""The same training steps for funtorch and PyTorch (one source), and by hand in JAX.

A step is a function without arguments that trains once and returns the loss as a number, so that
every contender finishes its work before the clock is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import gan
from benchmarks.by_hand import Model
from benchmarks.sequences import bert, gpt, lstm
from benchmarks.vision import resnet, unet, vit

Step = Callable[[], Any]
Compiler = Callable[[Any], Any]
RATE = 0.01


class Benchmark(NamedTuple):
    """A step for each contender.

    torch(lib, compiled): for funtorch and PyTorch; `compiled` is applied to the model.
    """

    torch: Callable[[Any, Compiler], Step]
    jax: Callable[[], Step]


def training(model: Callable[[], Model]) -> Benchmark:
    """A training step of a model."""

    def of_torch(lib: Any, compiled: Compiler) -> Step:
        build, _, x, y = model()
        lib.manual_seed(0)
        return torch_step(lib, build(lib), lib.tensor(x), lib.tensor(y), compiled)

    def of_jax() -> Step:
        _, by_hand, x, y = model()
        return jax_step(*by_hand(), x, y)

    return Benchmark(of_torch, of_jax)


def inference(model: Callable[[], Model]) -> Benchmark:
    """A forward pass of a model in evaluation mode (JAX: in training mode, where that differs)."""

    def of_torch(lib: Any, compiled: Compiler) -> Step:
        build, _, x, _ = model()
        lib.manual_seed(0)
        net, inputs = compiled(build(lib).eval()), lib.tensor(x)

        def step() -> Any:
            with lib.no_grad():
                return net(inputs).numpy()

        return step

    def of_jax() -> Step:
        _, by_hand, x, _ = model()
        apply, params = by_hand()
        compiled, params, inputs = jax.jit(apply), jax.device_put(params), jnp.asarray(x)
        return lambda: np.asarray(compiled(params, inputs))

    return Benchmark(of_torch, of_jax)


def torch_step(lib: Any, model: Any, inputs: Any, targets: Any, compiled: Compiler) -> Step:
    """One SGD step with cross-entropy, as PyTorch programs write it."""
    optimizer = lib.optim.SGD(model.parameters(), lr=RATE)
    loss_of = lib.nn.functional.cross_entropy
    model = compiled(model)

    def step() -> float:
        optimizer.zero_grad()
        logits = model(inputs)
        loss = loss_of(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def jax_step(apply: Callable[..., Any], params: Any, inputs: Any, targets: Any) -> Step:
    """The same step as a good JAX user writes it: one jit, parameters donated."""

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        logits = apply(p, x)
        log_p = jax.nn.log_softmax(logits.reshape(-1, logits.shape[-1]))
        return -jnp.take_along_axis(log_p, y.reshape(-1, 1), 1).mean()

    def update(p: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(p, x, y)
        return jax.tree.map(lambda a, g: a - RATE * g, p, grads), loss

    compiled = jax.jit(update, donate_argnums=0)
    state = [jax.device_put(params)]
    x, y = jnp.asarray(inputs), jnp.asarray(targets)

    def step() -> float:
        state[0], loss = compiled(state[0], x, y)
        return float(loss)

    return step


def mlp(widths: list[int], batch: int) -> Model:
    """(torch model builder, JAX builder, inputs, targets) of a multi-layer perceptron."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], batch)

    def build(lib: Any) -> Any:
        layers: list[Any] = []
        for n, m in zip(widths[:-1], widths[1:], strict=True):
            layers += [lib.nn.Linear(n, m), lib.nn.ReLU()]
        return lib.nn.Sequential(*layers[:-1])

    def by_hand() -> tuple[Any, Any]:
        pairs = zip(widths[:-1], widths[1:], strict=True)
        params = [(_weight(rng, m, n), np.zeros(m, np.float32)) for n, m in pairs]

        def apply(p: Any, x: Any) -> Any:
            for i, (w, b) in enumerate(p):
                x = x @ w.T + b
                x = jax.nn.relu(x) if i < len(p) - 1 else x
            return x

        return apply, params

    return build, by_hand, x, y


def _weight(rng: np.random.Generator, *shape: int) -> np.ndarray:
    fan = int(np.prod(shape[1:]))
    return (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def cnn(batch: int = 64) -> Model:
    """The MNIST convolutional network without dropout, so that all draw nothing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 1, 28, 28)).astype(np.float32)
    y = rng.integers(0, 10, batch)

    def build(lib: Any) -> Any:
        nn = lib.nn
        return nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip

    def by_hand() -> tuple[Any, Any]:
        shapes = [(32, 1, 3, 3), (64, 32, 3, 3), (128, 9216), (10, 128)]
        params = [(_weight(rng, *s), np.zeros(s[0], np.float32)) for s in shapes]

        def conv(x: Any, w: Any, b: Any) -> Any:
            out = jax.lax.conv_general_dilated(
                x, w, (1, 1), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW")
            )
            return jax.nn.relu(out + b[:, None, None])

        def apply(p: Any, x: Any) -> Any:
            x = conv(conv(x, *p[0]), *p[1])
            window = (1, 1, 2, 2)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
            x = jax.nn.relu(x.reshape(len(x), -1) @ p[2][0].T + p[2][1])
            return x @ p[3][0].T + p[3][1]

        return apply, params

    return build, by_hand, x, y


MODELS: dict[str, tuple[Callable[[], Model], int]] = {
    # name: (builder, steps per round)
    "tiny MLP (batch 1, 3x32)": (lambda: mlp([32, 32, 32, 32], 1), 50),
    "MLP (batch 64, 784-512-512-10)": (lambda: mlp([784, 512, 512, 10], 64), 10),
    "CNN (MNIST, batch 64)": (cnn, 3),
    "ResNet-18 (CIFAR, batch 16)": (resnet, 1),
    "ViT (6 x 192, batch 16)": (vit, 1),
    "GPT (4 x 128, T = 128, batch 8)": (gpt, 2),
    "BERT (2 x 128, T = 128, batch 16)": (bert, 2),
    "LSTM (2 x 128, T = 50, batch 32)": (lstm, 3),
    "U-Net (3 levels, 64 x 64, batch 4)": (unet, 1),
}

STEPS: dict[str, tuple[Benchmark, int]] = {
    **{name: (training(model), steps) for name, (model, steps) in MODELS.items()},
    "DCGAN (32 x 32, batch 32)": (Benchmark(gan.torch_step, gan.jax_step), 2),
}
FORWARD = {name: (inference(model), 3 * steps) for name, (model, steps) in MODELS.items()}
