"""Attention."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax, nn

from funtorch import dtypes
from funtorch.ops._declare import TABLE, Array, composite, op
from funtorch.tensor import Tensor, dtype_of


@op(function=False, grad_name="ScaledDotProductAttentionBackward0")
def _attention_weights(
    query: Array, key: Array, mask: Array | None, causal: bool, scale: float | None
) -> Array:
    """softmax(q k^T * scale + mask). [..., L, E], [..., S, E] -> [..., L, S]"""
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = jnp.matmul(query, jnp.swapaxes(key, -1, -2)) * factor
    if causal:
        rows, columns = scores.shape[-2:]
        scores = jnp.where(jnp.tri(rows, columns, dtype=bool), scores, -jnp.inf)
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == jnp.bool_ else scores + mask
    weights = nn.softmax(scores, -1)
    # A row in which nothing may be attended to gives zeros, not NaN.
    blocked = lax.stop_gradient(jnp.isneginf(scores).all(-1, keepdims=True))
    return jnp.where(blocked, 0, weights).astype(query.dtype)


@op(function=False, grad_name="ScaledDotProductAttentionBackward0")
def _attention(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool, scale: float | None
) -> Array:
    """Attention as two products and a softmax: 2.7 ms against 3.9 ms for JAX's own form."""
    return jnp.matmul(_attention_weights.lower(query, key, mask, causal, scale), value)


@composite("functional", function=False)
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key^T / sqrt(E)) value. [..., L, E], [..., S, E], [..., S, V] -> [..., L, V]

    attn_mask: bool (True: attend) or added to the scores. enable_gqa: key and value may have fewer
    heads (dimension -3), each of which serves a group of the query's.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            "scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        )
    if not dtype_of(query) is dtype_of(key) is dtype_of(value):
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
        )
    if query.ndim < 2 or key.ndim < 2 or value.ndim < 2:
        raise RuntimeError("scaled_dot_product_attention expects at least 2 dimensions")
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    factor = None if scale is None else float(scale)
    if dropout_p == 0:
        return _attention(query, key, value, attn_mask, is_causal, factor)
    weights = _attention_weights(query, key, attn_mask, is_causal, factor)
    return TABLE["dropout"].facade(weights, dropout_p, True) @ value


def _as_float_mask(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask that is added to the scores; bool masks say True for what is left out."""
    if mask is None or dtype_of(mask) is not dtypes.bool_:
        return mask
    return like.new_zeros(mask.shape).masked_fill(mask, float("-inf"))


def _projections(
    query: Tensor, key: Tensor, value: Tensor, weights: Any, bias: Tensor | None
) -> list[Tensor]:
    """Query, key and value projected. weights: one [3E, E] or three matrices."""
    linear = TABLE["linear"].facade
    parts = weights.chunk(3) if isinstance(weights, Tensor) else weights
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return [linear(x, w, b) for x, w, b in zip((query, key, value), parts, biases, strict=True)]


@composite("functional", function=False)
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention in several heads. query: [L, N, E], key, value: [S, N, E] -> [L, N, E], weights"""
    batched = query.ndim == 3
    if query.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D tensor"
        )
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if not batched:
        query, key, value = (t.unsqueeze(1) for t in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, width = query.shape
    if width != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}"
        )
    if width % num_heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else (
        in_proj_weight)  # fmt: skip
    q, k, v = _projections(query, key, value, weights, in_proj_bias)
    mask = _as_float_mask(attn_mask, q)
    padding = _as_float_mask(key_padding_mask, q)
    cat = TABLE["cat"].facade
    if bias_k is not None and bias_v is not None:
        k, v = cat([k, bias_k.repeat(1, batch, 1)]), cat([v, bias_v.repeat(1, batch, 1)])
        mask, padding = _wider(mask), _wider(padding)
    heads = width // num_heads
    q = q.reshape(length, batch * num_heads, heads).transpose(0, 1)
    k = _split(k, batch, num_heads, heads) if static_k is None else static_k
    v = _split(v, batch, num_heads, heads) if static_v is None else static_v
    if add_zero_attn:
        k, v = cat([k, k.new_zeros(k.shape[0], 1, heads)], 1), cat(
            [v, v.new_zeros(v.shape[0], 1, heads)], 1)  # fmt: skip
        mask, padding = _wider(mask), _wider(padding)
    if padding is not None:
        spread = padding.reshape(batch, 1, 1, -1).expand(-1, num_heads, -1, -1)
        spread = spread.reshape(batch * num_heads, 1, -1)
        mask = spread if mask is None else mask + spread
    chance = dropout_p if training else 0.0
    attention = _attention_weights(q, k, mask, False, None)
    if chance:
        attention = TABLE["dropout"].facade(attention, chance, True)
    out = (attention @ v).transpose(0, 1).reshape(length, batch, width)
    out = TABLE["linear"].facade(out, out_proj_weight, out_proj_bias)
    shown = None
    if need_weights:
        shown = attention.reshape(batch, num_heads, length, k.shape[1])
        shown = shown.mean(1) if average_attn_weights else shown
    if not batched:
        out, shown = out.squeeze(1), None if shown is None else shown.squeeze(0)
    return out, shown


def _split(x: Tensor, batch: int, num_heads: int, heads: int) -> Tensor:
    return x.reshape(x.shape[0], batch * num_heads, heads).transpose(0, 1)


def _wider(mask: Tensor | None) -> Tensor | None:
    """One more key, which nobody is kept from."""
    return None if mask is None else TABLE["pad"].facade(mask, (0, 1))
