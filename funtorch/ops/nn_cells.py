"""One step of the recurrent layers. Gate order is PyTorch's."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from funtorch.ops._declare import Array, op


def _affine(x: Array, weight: Array, bias: Array | None) -> Array:
    out = x @ weight.T
    return out if bias is None else out + bias


@op()
def lstm_cell(
    input: Array,
    hx: list[Array],
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
) -> tuple[Array, Array]:
    """Gates i, f, g, o. input: [..., I], hx: two of [..., H] -> (h, c), both [..., H]"""
    h, c = hx
    gates = _affine(input, w_ih, b_ih) + _affine(h, w_hh, b_hh)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(new), new


@op()
def gru_cell(
    input: Array,
    hx: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
) -> Array:
    """Gates r, z, n. input: [..., I], hx: [..., H] -> [..., H]"""
    ri, zi, ni = jnp.split(_affine(input, w_ih, b_ih), 3, axis=-1)
    rh, zh, nh = jnp.split(_affine(hx, w_hh, b_hh), 3, axis=-1)
    z = jax.nn.sigmoid(zi + zh)
    n = jnp.tanh(ni + jax.nn.sigmoid(ri + rh) * nh)
    return (1 - z) * n + z * hx


@op()
def rnn_tanh_cell(
    input: Array,
    hx: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
) -> Array:
    """input: [..., I], hx: [..., H] -> [..., H]"""
    return jnp.tanh(_affine(input, w_ih, b_ih) + _affine(hx, w_hh, b_hh))


@op()
def rnn_relu_cell(
    input: Array,
    hx: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
) -> Array:
    """input: [..., I], hx: [..., H] -> [..., H]"""
    return jax.nn.relu(_affine(input, w_ih, b_ih) + _affine(hx, w_hh, b_hh))
