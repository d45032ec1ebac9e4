"""Sequence models for the benchmarks: a small GPT and an LSTM classifier."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.by_hand import Model, Weights, by_name, dense, encoder, encoder_block, layer_norm

VOCABULARY = 96


def gpt(
    blocks: int = 4, width: int = 128, heads: int = 4, length: int = 128, batch: int = 8
) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A decoder-only transformer, pre-norm, GELU, learned positions, untied head."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, VOCABULARY, (batch, length))
    y = rng.integers(0, VOCABULARY, (batch, length))

    def build(lib: Any) -> Any:
        nn, functional = lib.nn, lib.nn.functional

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
                self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
                self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

            def forward(self, h: Any) -> Any:
                b, t, c = h.shape
                q, k, v = self.qkv(self.first(h)).split(width, dim=2)
                q, k, v = (m.view(b, t, heads, c // heads).transpose(1, 2) for m in (q, k, v))
                a = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
                h = h + self.out(a.transpose(1, 2).reshape(b, t, c))
                return h + self.down(functional.gelu(self.up(self.second(h))))

        class GPT(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.tokens = nn.Embedding(VOCABULARY, width)
                self.places = nn.Embedding(length, width)
                self.blocks = nn.Sequential(*[Block() for _ in range(blocks)])
                self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)

            def forward(self, ids: Any) -> Any:
                h = self.tokens(ids) + self.places(lib.arange(ids.shape[1]))
                return self.head(self.norm(self.blocks(h)))

        return GPT()

    def by_hand() -> tuple[Any, Any]:
        def dense(m: int, n: int) -> Any:
            w = rng.standard_normal((n, m)).astype(np.float32) / np.sqrt(n)
            return w, np.zeros(m, np.float32)

        def scale() -> Any:
            return np.ones(width, np.float32), np.zeros(width, np.float32)

        layers = [
            (scale(), scale(), dense(3 * width, width), dense(width, width))
            + (dense(4 * width, width), dense(width, 4 * width))
            for _ in range(blocks)
        ]
        tables = [rng.standard_normal((n, width)).astype(np.float32) for n in (VOCABULARY, length)]
        params = (tables, layers, scale(), dense(VOCABULARY, width))

        def norm(h: Any, p: Any) -> Any:
            mean = h.mean(-1, keepdims=True)
            var = jnp.square(h - mean).mean(-1, keepdims=True)
            return (h - mean) * jax.lax.rsqrt(var + 1e-5) * p[0] + p[1]

        def block(h: Any, p: Any) -> Any:
            b, t, c = h.shape
            q, k, v = jnp.split(norm(h, p[0]) @ p[2][0] + p[2][1], 3, axis=-1)
            q, k, v = (m.reshape(b, t, heads, c // heads) for m in (q, k, v))
            a = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            h = h + a.reshape(b, t, c) @ p[3][0] + p[3][1]
            up = jax.nn.gelu(norm(h, p[1]) @ p[4][0] + p[4][1], approximate=False)
            return h + up @ p[5][0] + p[5][1]

        def apply(p: Any, ids: Any) -> Any:
            (tokens, places), layers, last, head = p
            h = tokens[ids] + places[: ids.shape[1]]
            for layer in layers:
                h = block(h, layer)
            return norm(h, last) @ head[0] + head[1]

        return apply, params

    return build, by_hand, x, y


def lstm(
    width: int = 128, layers: int = 2, length: int = 50, batch: int = 32
) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A classifier on the last output of an LSTM."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, length, width)).astype(np.float32)
    y = rng.integers(0, 10, batch)

    def build(lib: Any) -> Any:
        class Classifier(lib.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lstm = lib.nn.LSTM(width, width, layers, batch_first=True)
                self.head = lib.nn.Linear(width, 10)

            def forward(self, x: Any) -> Any:
                return self.head(self.lstm(x)[0][:, -1])

        return Classifier()

    def by_hand() -> tuple[Any, Any]:
        def draw(*shape: int) -> np.ndarray:
            bound = 1 / np.sqrt(width)
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        cells = [
            (draw(width, 4 * width), draw(width, 4 * width), draw(4 * width)) for _ in range(layers)
        ]
        params = (cells, (draw(width, 10), draw(10)))

        def run(x: Any, p: Any) -> Any:
            def step(state: Any, now: Any) -> Any:
                h, c = state
                i, f, g, o = jnp.split(now + h @ p[1], 4, axis=-1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            zeros = jnp.zeros((x.shape[1], width))
            return jax.lax.scan(step, (zeros, zeros), x @ p[0] + p[2])[1]

        def apply(p: Any, x: Any) -> Any:
            h = x.swapaxes(0, 1)
            for cell in p[0]:
                h = run(h, cell)
            return h[-1] @ p[1][0] + p[1][1]

        return apply, params

    return build, by_hand, x, y


def bert(
    blocks: int = 2, width: int = 128, heads: int = 2, length: int = 128, batch: int = 16
) -> Model:
    """An encoder of BERT-tiny's size with a classifier on the first token (pre-norm)."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 1000, (batch, length))
    y = rng.integers(0, 4, batch)

    def build(lib: Any) -> Any:
        nn = lib.nn

        class Bert(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.tokens, self.places = nn.Embedding(1000, width), nn.Embedding(length, width)
                self.norm = nn.LayerNorm(width)
                self.blocks = nn.Sequential(*[encoder(lib, width, heads) for _ in range(blocks)])
                self.pooled, self.head = nn.Linear(width, width), nn.Linear(width, 4)

            def forward(self, ids: Any) -> Any:
                h = self.norm(self.tokens(ids) + self.places(lib.arange(ids.shape[1])))
                return self.head(lib.tanh(self.pooled(self.blocks(h)[:, 0])))

        return Bert()

    def apply(p: Weights, ids: Any) -> Any:
        h = p["tokens.weight"][ids] + p["places.weight"][: ids.shape[1]]
        h = layer_norm(h, p, "norm")
        for i in range(blocks):
            h = encoder_block(h, p, f"blocks.{i}", heads)
        return dense(jnp.tanh(dense(h[:, 0], p, "pooled")), p, "head")

    return build, by_name(build, apply), x, y
