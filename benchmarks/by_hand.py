"""Layers by hand in JAX, and the transformer block of which several benchmarks are made.

The JAX forms read their weights by the names of the PyTorch form's state. Batch normalisation uses
the batch's statistics and keeps no running ones, which is in JAX's favour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funtorch

Weights = dict[str, Any]
Model = tuple[Callable[[Any], Any], Callable[[], Any], np.ndarray, np.ndarray]
"""(builder of the PyTorch form, maker of (JAX function, weights), inputs, targets)"""


def by_name(
    build: Callable[[Any], Any], apply: Callable[..., Any]
) -> Callable[[], tuple[Any, Weights]]:
    """`by_hand` of a model: its apply function, and the floating-point state as NumPy arrays."""

    def by_hand() -> tuple[Any, Weights]:
        state = build(funtorch).state_dict()
        skipped = ("running_mean", "running_var", "num_batches_tracked")
        return apply, {k: v.numpy().copy() for k, v in state.items() if not k.endswith(skipped)}

    return by_hand


def conv(x: Any, weight: Any, stride: int = 1, padding: int = 1) -> Any:
    """Convolution of images, [N, C, H, W]."""
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )  # fmt: skip


def batch_norm(x: Any, p: Weights, name: str) -> Any:
    """Batch normalisation in training mode, [N, C, H, W]."""
    mean = x.mean((0, 2, 3), keepdims=True)
    var = jnp.square(x).mean((0, 2, 3), keepdims=True) - jnp.square(mean)
    scale = jax.lax.rsqrt(var + 1e-5) * p[f"{name}.weight"][:, None, None]
    return (x - mean) * scale + p[f"{name}.bias"][:, None, None]


def layer_norm(h: Any, p: Weights, name: str) -> Any:
    """Layer normalisation over the last axis."""
    mean = h.mean(-1, keepdims=True)
    var = jnp.square(h - mean).mean(-1, keepdims=True)
    return (h - mean) * jax.lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def dense(h: Any, p: Weights, name: str) -> Any:
    """A linear layer."""
    return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def encoder_block(h: Any, p: Weights, name: str, heads: int) -> Any:
    """A pre-norm transformer block without mask, [N, T, C]."""
    b, t, c = h.shape
    parts = jnp.split(dense(layer_norm(h, p, f"{name}.first"), p, f"{name}.qkv"), 3, axis=-1)
    q, k, v = (m.reshape(b, t, heads, c // heads) for m in parts)
    a = jax.nn.dot_product_attention(q, k, v).reshape(b, t, c)
    h = h + dense(a, p, f"{name}.out")
    up = dense(layer_norm(h, p, f"{name}.second"), p, f"{name}.up")
    return h + dense(jax.nn.gelu(up, approximate=False), p, f"{name}.down")


def encoder(lib: Any, width: int, heads: int) -> Any:
    """The same block as a PyTorch module."""
    nn, functional = lib.nn, lib.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, h: Any) -> Any:
            b, t, c = h.shape
            q, k, v = self.qkv(self.first(h)).chunk(3, dim=-1)
            q, k, v = (m.view(b, t, heads, c // heads).transpose(1, 2) for m in (q, k, v))
            a = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c)
            h = h + self.out(a)
            return h + self.down(functional.gelu(self.up(self.second(h))))

    return Block()
