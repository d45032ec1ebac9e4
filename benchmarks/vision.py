"""Vision models for the benchmarks: ResNet-18 for CIFAR, a vision transformer, a U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.by_hand import (
    Model,
    Weights,
    batch_norm,
    by_name,
    conv,
    dense,
    encoder,
    encoder_block,
    layer_norm,
)


def images(batch: int, side: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 3, side, side)).astype(np.float32)
    return x, rng.integers(0, classes, batch)


def resnet(depths: Sequence[int] = (2, 2, 2, 2), batch: int = 16) -> Model:
    """ResNet-18 (or, by its depths, a larger one of basic blocks) for CIFAR: a 3x3 stem, no pooling."""
    stages = [
        (64 << i, 2 if i and not j else 1) for i, depth in enumerate(depths) for j in range(depth)
    ]

    def build(lib: Any) -> Any:
        nn, functional = lib.nn, lib.nn.functional

        class Block(nn.Module):
            def __init__(self, before: int, width: int, stride: int) -> None:
                super().__init__()
                self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
                self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
                self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
                self.shortcut = nn.Sequential()
                if stride != 1 or before != width:
                    self.shortcut = nn.Sequential(
                        nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
                    )

            def forward(self, x: Any) -> Any:
                h = functional.relu(self.bn1(self.conv1(x)))
                return functional.relu(self.bn2(self.conv2(h)) + self.shortcut(x))

        layers: list[Any] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        before = 64
        for width, stride in stages:
            layers.append(Block(before, width, stride))
            before = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
        return nn.Sequential(*layers)

    def apply(p: Weights, x: Any) -> Any:
        h = jax.nn.relu(batch_norm(conv(x, p["0.weight"]), p, "1"))
        for i, (_, stride) in enumerate(stages, 3):
            inner = jax.nn.relu(batch_norm(conv(h, p[f"{i}.conv1.weight"], stride), p, f"{i}.bn1"))
            inner = batch_norm(conv(inner, p[f"{i}.conv2.weight"]), p, f"{i}.bn2")
            if f"{i}.shortcut.0.weight" in p:
                h = conv(h, p[f"{i}.shortcut.0.weight"], stride, 0)
                h = batch_norm(h, p, f"{i}.shortcut.1")
            h = jax.nn.relu(inner + h)
        return dense(h.mean((2, 3)), p, str(len(stages) + 5))

    return build, by_name(build, apply), *images(batch, 32)


def vit(
    batch: int = 16, width: int = 192, heads: int = 3, blocks: int = 6, patch: int = 4
) -> Model:
    """A vision transformer of ViT-tiny's width on 32 x 32 images."""
    tokens = (32 // patch) ** 2 + 1

    def build(lib: Any) -> Any:
        nn = lib.nn

        class ViT(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.patches = nn.Conv2d(3, width, patch, patch)
                self.token = nn.Parameter(lib.zeros(1, 1, width))
                self.places = nn.Parameter(lib.zeros(1, tokens, width))
                self.blocks = nn.Sequential(*[encoder(lib, width, heads) for _ in range(blocks)])
                self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

            def forward(self, x: Any) -> Any:
                h = self.patches(x).flatten(2).transpose(1, 2)
                h = lib.cat([self.token.expand(len(x), -1, -1), h], dim=1) + self.places
                return self.head(self.norm(self.blocks(h))[:, 0])

        return ViT()

    def apply(p: Weights, x: Any) -> Any:
        h = conv(x, p["patches.weight"], patch, 0) + p["patches.bias"][:, None, None]
        h = h.reshape(*h.shape[:2], -1).swapaxes(1, 2)
        first = jnp.broadcast_to(p["token"], (len(x), 1, width))
        h = jnp.concatenate([first, h], 1) + p["places"]
        for i in range(blocks):
            h = encoder_block(h, p, f"blocks.{i}", heads)
        return dense(layer_norm(h, p, "norm")[:, 0], p, "head")

    return build, by_name(build, apply), *images(batch, 32)


def unet(batch: int = 4, width: int = 16, side: int = 64) -> Model:
    """A U-Net of three levels that labels every pixel with one of four classes."""
    widths = [width, 2 * width, 4 * width]

    def build(lib: Any) -> Any:
        nn, functional = lib.nn, lib.nn.functional

        def double(before: int, after: int) -> Any:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
                nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            )  # fmt: skip

        class UNet(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.down = nn.ModuleList(
                    [double(a, b) for a, b in zip([3, *widths[:-1]], widths, strict=True)]
                )
                self.up = nn.ModuleList(
                    [double(a + b, a) for a, b in zip(widths[:-1], widths[1:], strict=True)]
                )
                self.head = nn.Conv2d(width, 4, 1)

            def forward(self, x: Any) -> Any:
                kept = []
                for i, block in enumerate(self.down):
                    x = block(x if i == 0 else functional.max_pool2d(x, 2))
                    kept.append(x)
                for i in reversed(range(len(self.up))):
                    x = functional.interpolate(x, scale_factor=2, mode="nearest")
                    x = self.up[i](lib.cat([kept[i], x], dim=1))
                return self.head(x).permute(0, 2, 3, 1)

        return UNet()

    def double(x: Any, p: Weights, name: str) -> Any:
        for i in (0, 3):
            x = conv(x, p[f"{name}.{i}.weight"])
            x = jax.nn.relu(batch_norm(x, p, f"{name}.{i + 1}"))
        return x

    def pool(x: Any) -> Any:
        window = (1, 1, 2, 2)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    def apply(p: Weights, x: Any) -> Any:
        kept = []
        for i in range(len(widths)):
            x = double(x if i == 0 else pool(x), p, f"down.{i}")
            kept.append(x)
        for i in reversed(range(len(widths) - 1)):
            x = x.repeat(2, axis=2).repeat(2, axis=3)
            x = double(jnp.concatenate([kept[i], x], 1), p, f"up.{i}")
        x = conv(x, p["head.weight"], 1, 0) + p["head.bias"][:, None, None]
        return x.transpose(0, 2, 3, 1)

    x, _ = images(batch, side)
    y = np.random.default_rng(1).integers(0, 4, (batch, side, side))
    return build, by_name(build, apply), x, y
