"""RNN, GRU and LSTM: one scan per direction, any activations, peepholes and lengths."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.onnx.cells import Library, layer
from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor

_LIBRARY = Library(
    functions={
        "relu": lambda x: jnp.maximum(x, 0),
        "tanh": jnp.tanh,
        "sigmoid": jax.nn.sigmoid,
        "affine": lambda x, a, b: a * x + b,
        "leakyrelu": lambda x, a: jnp.where(x >= 0, x, a * x),
        "thresholdedrelu": lambda x, a: jnp.where(x > a, x, 0),
        "scaledtanh": lambda x, a, b: a * jnp.tanh(b * x),
        "hardsigmoid": lambda x, a, b: jnp.clip(a * x + b, 0, 1),
        "elu": lambda x, a: jnp.where(x >= 0, x, a * jnp.expm1(jnp.minimum(x, 0))),
        "softsign": lambda x: x / (1 + jnp.abs(x)),
        "softplus": lambda x: jnp.logaddexp(x, 0),
    },
    split=jnp.split,
    times=lambda h, r: h @ r.T,
    clip=jnp.clip,
    zeros=jnp.zeros,
    stack=jnp.stack,
)


def _direction(lengths: Any, x: Any, state: Any, w: Any, cell: Any, backwards: bool) -> Any:
    """One direction. x: [T, N, I] -> ([T, N, H], last state)"""
    time = x.shape[0]
    steps = jnp.arange(time)
    if backwards:
        # Each sequence turned within its own length, so that padding stays at the end.
        ends = jnp.full(x.shape[1], time) if lengths is None else lengths
        at = jnp.where(steps[:, None] < ends, ends - 1 - steps[:, None], steps[:, None])
        x = jnp.take_along_axis(x, at[..., None], 0)
    gates = x @ w["w"].T + w["wb"]

    def step(state: Any, now: Any) -> Any:
        gates, t = now
        new = cell(gates, *state)
        if lengths is None:
            return new, new[0]
        live = (t < lengths)[:, None]
        kept = tuple(jnp.where(live, n, s) for n, s in zip(new, state, strict=True))
        return kept, jnp.where(live, new[0], 0)

    last, y = lax.scan(step, state, (gates, steps))
    if backwards:
        y = jnp.take_along_axis(y, at[..., None], 0)
    return y, last


@kernel
def recurrent(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None,
    lengths: Array | None,
    h: Array | None,
    c: Array | None,
    p: Array | None,
    *,
    kind: str,
    attributes: tuple,
) -> tuple[Array, ...]:
    """x: [T, N, I] -> y [T, D, N, H], last h (and c of an LSTM) [D, N, H]."""
    first = (h, c) if kind == "LSTM" else (h,)
    direction = functools.partial(_direction, lengths)
    return layer(_LIBRARY, kind, direction, x.shape[1], x, w, r, b, first, p, dict(attributes))


def _run(
    kind: str,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Any,
    lengths: Any,
    h: Any,
    c: Any,
    p: Any,
    a: dict[str, Any],
) -> tuple[Tensor, ...]:
    """Calls the kernel, with the batch in front if `layout` says so."""
    batch_first = a.get("layout", 0)
    if batch_first:
        x, h, c = (None if v is None else v.transpose(0, 1) for v in (x, h, c))
    attributes = tuple(sorted(a.items()))
    y, *ends = recurrent(x, w, r, b, lengths, h, c, p, kind=kind, attributes=attributes)
    if batch_first:
        y = y.permute(2, 0, 1, 3)
        ends = [e.transpose(0, 1) for e in ends]
    return (y, *ends)


@rule("RNN")
def rnn(x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, **a: Any) -> Any:
    """h' = f(x W + h R + b)."""
    return _run("RNN", x, w, r, b, lengths, h, None, None, a)


@rule("GRU")
def gru(x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, **a: Any) -> Any:
    """Gated recurrent unit; gates in the order z, r, h."""
    return _run("GRU", x, w, r, b, lengths, h, None, None, a)


@rule("LSTM")
def lstm(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lengths: Any = None,
    h: Any = None,
    c: Any = None,
    p: Any = None,
    **a: Any,
) -> Any:
    """Long short-term memory; gates in the order i, o, f, c."""
    return _run("LSTM", x, w, r, b, lengths, h, c, p, a)
