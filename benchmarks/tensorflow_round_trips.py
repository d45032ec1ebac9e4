"""Thirty small architectures: funtorch -> ONNX -> TensorFlow -> ONNX -> funtorch.

python -m benchmarks.tensorflow_round_trips [pattern] prints a table: the largest error of the
TensorFlow module and of the module that came back, against the one that set out; how far gradients
in float64 differ; how far the losses of a hundred steps in float32, in training mode, come apart.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import funtorch as torch
from funtorch import nn
from funtorch.nn import functional as F
from funtorch.tensorflow import from_function, to_module


class Of(nn.Module):
    """A module whose forward is a function of itself and the input."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Any) -> Any:
        """forward(self, x)"""
        return self._forward(self, x)


def conv(i: int, o: int, k: int = 3, **options: Any) -> nn.Module:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(i, o, k, padding=k // 2, **options), nn.BatchNorm2d(o), nn.ReLU()
    )


def residual(body: nn.Module) -> nn.Module:
    """x + body(x)"""
    return Of(lambda m, x: x + m.body(x), body=body)


def head(*layers: nn.Module, features: int = 8) -> nn.Module:
    """Layers, the mean over space, a linear layer."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 4))


def inverted() -> nn.Module:
    """MobileNetV2's block."""
    return residual(nn.Sequential(
        nn.Conv2d(8, 16, 1), nn.ReLU6(), nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.BatchNorm2d(16), nn.ReLU6(), nn.Conv2d(16, 8, 1),
    ))  # fmt: skip


def squeezed() -> nn.Module:
    """A squeeze-and-excitation block."""
    gate = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.SiLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid()
    )
    return Of(lambda m, x: x * m.gate(x), gate=gate)


def next_block() -> nn.Module:
    """ConvNeXt's block."""
    body = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
    wide = nn.Conv2d(8, 8, 7, padding=3, groups=8)
    return Of(
        lambda m, x: x + m.body(m.wide(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        body=body, wide=wide,
    )  # fmt: skip


def unet() -> nn.Module:
    """One level down and up again."""

    def forward(m: Any, x: Any) -> Any:
        a = m.first(x)
        return m.last(torch.cat([a, m.up(m.deep(F.max_pool2d(a, 2)))], 1))

    return Of(forward, first=conv(3, 4), deep=conv(4, 8), up=nn.ConvTranspose2d(8, 4, 2, 2),
              last=nn.Conv2d(8, 2, 3, padding=1))  # fmt: skip


def recurrent(kind: Any, **options: Any) -> nn.Module:
    """A recurrent layer and a linear one."""
    size = 12 if options.get("bidirectional") else 6
    return Of(lambda m, x: m.out(m.cells(x)[0]), cells=kind(5, 6, batch_first=True, **options),
              out=nn.Linear(size, 4))  # fmt: skip


def attention() -> nn.Module:
    """Causal self-attention, written out."""

    def forward(m: Any, x: Any) -> Any:
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in m.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return m.out(y.transpose(1, 2).flatten(2))

    return Of(forward, qkv=nn.Linear(8, 24), out=nn.Linear(8, 8))


def gpt() -> nn.Module:
    """Tokens to scores: embedding, two blocks, tied by nothing."""
    blocks = [
        nn.Sequential(
            residual(nn.Sequential(nn.LayerNorm(8), attention())),
            residual(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))),
        )
        for _ in range(2)
    ]
    return nn.Sequential(nn.Embedding(20, 8), *blocks, nn.LayerNorm(8), nn.Linear(8, 20))


def vit() -> nn.Module:
    """Patches as tokens, one encoder layer, their mean."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0, activation="gelu")
    return Of(lambda m, x: m.out(m.layer(m.patch(x).flatten(2).transpose(1, 2)).mean(1)),
              patch=nn.Conv2d(3, 8, 4, 4), layer=layer, out=nn.Linear(8, 4))  # fmt: skip


def mixer() -> nn.Module:
    """One layer of an MLP-Mixer. [N, 6 tokens, 8]"""
    return nn.Sequential(
        nn.LayerNorm(8),
        Of(lambda m, x: x + m.mix(x.transpose(1, 2)).transpose(1, 2), mix=nn.Linear(6, 6)),
        residual(nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Linear(16, 8))),
    )


def autoencoder() -> nn.Module:
    """Down and up by strided convolutions."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ELU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ELU(),
        nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.ELU(), nn.ConvTranspose2d(6, 3, 3, 2, 1, 1),
        nn.Sigmoid(),
    )  # fmt: skip


IMAGE, STEPS, TOKENS, ROW = (3, 3, 8, 8), (3, 4, 5), (3, 6), (3, 8)
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(8, 4), ROW),
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), ROW),
    "mlp, SELU, softmax": (
        lambda: nn.Sequential(nn.Linear(8, 9), nn.SELU(), nn.Linear(9, 4), nn.Softmax(-1)), ROW),
    "mlp, PReLU, batch norm": (
        lambda: nn.Sequential(nn.Linear(8, 9), nn.BatchNorm1d(9), nn.PReLU(9), nn.Mish()), ROW),
    "gated units": (lambda: nn.Sequential(nn.Linear(8, 16), nn.GLU(), nn.Linear(8, 4)), ROW),
    "LeNet": (lambda: nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.Tanh(),
        nn.Flatten(), nn.Linear(32, 4)), IMAGE),
    "VGG": (lambda: head(conv(3, 8), conv(8, 8), nn.MaxPool2d(2), conv(8, 8)), IMAGE),
    "ResNet": (lambda: head(conv(3, 8), residual(nn.Sequential(conv(8, 8), conv(8, 8)))), IMAGE),
    "ResNeXt": (lambda: head(conv(3, 8), residual(conv(8, 8, groups=4))), IMAGE),
    "DenseNet": (lambda: head(
        Of(lambda m, x: torch.cat([x, m.body(x)], 1), body=conv(3, 5))), IMAGE),
    "Inception": (lambda: head(Of(
        lambda m, x: torch.cat([m.a(x), m.b(x), F.max_pool2d(x, 3, 1, 1)], 1),
        a=conv(3, 3, 1), b=conv(3, 2, 5))), IMAGE),
    "MobileNetV2": (lambda: head(conv(3, 8), inverted()), IMAGE),
    "EfficientNet": (lambda: head(conv(3, 8), squeezed()), IMAGE),
    "ConvNeXt": (lambda: head(nn.Conv2d(3, 8, 2, 2), next_block()), IMAGE),
    "ShuffleNet": (lambda: head(conv(3, 8, 1), nn.ChannelShuffle(2), conv(8, 8, groups=2)), IMAGE),
    "dilated": (lambda: head(nn.Conv2d(3, 8, 3, padding=2, dilation=2), nn.LeakyReLU()), IMAGE),
    "group norm": (lambda: head(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU()), IMAGE),
    "instance norm": (lambda: head(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8), nn.CELU()), IMAGE),
    "U-Net": (unet, IMAGE),
    "autoencoder": (autoencoder, IMAGE),
    "super-resolution": (lambda: nn.Sequential(nn.Conv2d(3, 12, 3), nn.PixelShuffle(2)), IMAGE),
    "bilinear decoder": (lambda: nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3)),
        IMAGE),
    "temporal convolution": (lambda: nn.Sequential(
        nn.Conv1d(4, 6, 3, padding=1), nn.Softplus(), nn.MaxPool1d(2), nn.Conv1d(6, 4, 1)), STEPS),
    "volumes": (lambda: nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AvgPool3d(2)), (2, 1, 6, 6, 6)),
    "RNN": (lambda: recurrent(nn.RNN), STEPS),
    "LSTM": (lambda: recurrent(nn.LSTM, num_layers=2), STEPS),
    "BiLSTM": (lambda: recurrent(nn.LSTM, bidirectional=True), STEPS),
    "GRU": (lambda: recurrent(nn.GRU), STEPS),
    "Transformer": (lambda: nn.Sequential(nn.Embedding(20, 8), nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0), 2)), TOKENS),
    "GPT": (gpt, TOKENS),
    "ViT": (vit, IMAGE),
    "Mixer": (mixer, (3, 6, 8)),
}  # fmt: skip


def example(shape: tuple[int, ...]) -> Any:
    """An input of this shape."""
    return torch.randint(0, 20, shape) if shape is TOKENS else torch.randn(shape)


def prepared(name: str) -> tuple[nn.Module, Any]:
    """An architecture with an input."""
    torch.manual_seed(0)
    make, shape = ARCHITECTURES[name]
    return make().eval(), example(shape)


def there_and_back(name: str) -> str:
    """The first columns. The batch is larger on the way than in the example."""
    model, x = prepared(name)
    module = to_module(model, (x,), check=False, training=False)
    back = from_function(module.run.get_concrete_function(), check=False)
    x = torch.cat([x, x[:1]])
    with torch.no_grad():
        wanted, there, again = model(x).numpy(), module(x.numpy()).numpy(), back(x).numpy()
    errors = [np.abs(v - wanted).max() for v in (there, again)]
    same = {n for n, _ in back.named_parameters()} == {n for n, _ in model.named_parameters()}
    return f"{errors[0]:.1e} | {errors[1]:.1e} | {'yes' if same else 'no'}"


def gradients(name: str) -> str:
    """The largest difference of gradients in float64, relative to the largest of all."""
    model, x = prepared(name)
    model = model.double()
    x = x.double() if x.is_floating_point() else x
    module = to_module(model, (x,), check=False, training=False)
    y = model(x)
    weights = np.random.default_rng(0).normal(size=y.shape)
    (y * torch.tensor(weights)).sum().backward()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(x.numpy()) * weights)
    theirs = tape.gradient(loss, module.weights)
    ours = {n: p.grad.numpy() for n, p in model.named_parameters()}
    scale = max(np.abs(g).max() for g in ours.values())
    errors = [np.abs(tf.convert_to_tensor(theirs[n]) - g).max() for n, g in ours.items()]
    return f"{max(errors) / scale:.0e}"


def trained(name: str) -> str:
    """The largest difference of losses over a hundred steps, relative to the first loss."""
    model, x = prepared(name)
    target = torch.randn(model(x).shape)
    module = to_module(model, (x,), check=False)
    model.train()
    ours = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    theirs = keras.optimizers.SGD(0.05, momentum=0.9)

    @tf.function
    def step(x: Any, target: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((module(x, training=True) - target) ** 2)
        found = tape.gradient(loss, module.trainable_variables)
        theirs.apply_gradients(zip(found, module.trainable_variables, strict=True))
        return loss

    pairs = []
    for _ in range(100):
        ours.zero_grad()
        loss = F.mse_loss(model(x), target)
        loss.backward()
        ours.step()
        pairs.append((loss.item(), float(step(x.numpy(), target.numpy()))))
    a, b = np.array(pairs).T
    return f"{np.abs(a - b).max() / a[0]:.0e} ({a[0]:.3g} -> {a[-1]:.3g})"


def attempted(measure: Callable[[str], str], name: str) -> str:
    """A cell or more; errors are named, and the rest goes on."""
    try:
        return measure(name)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


def main() -> None:
    """All architectures, or those that match a pattern."""
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    print(
        "| architecture | in TensorFlow | back again | same names | gradients | 100 steps | CPU s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ARCHITECTURES:
        if pattern.search(name):
            begun = time.process_time()
            cells = [attempted(m, name) for m in (there_and_back, gradients, trained)]
            print(
                f"| {name} | {' | '.join(cells)} | {time.process_time() - begun:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
