"""RNN, GRU and LSTM: one scan per direction, any activations, peepholes and lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor

_ACTIVATIONS: dict[str, Callable[[Any, float, float], Any]] = {
    "relu": lambda x, a, b: jnp.maximum(x, 0),
    "tanh": lambda x, a, b: jnp.tanh(x),
    "sigmoid": lambda x, a, b: jax.nn.sigmoid(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: jnp.where(x >= 0, x, a * x),
    "thresholdedrelu": lambda x, a, b: jnp.where(x > a, x, 0),
    "scaledtanh": lambda x, a, b: a * jnp.tanh(b * x),
    "hardsigmoid": lambda x, a, b: jnp.clip(a * x + b, 0, 1),
    "elu": lambda x, a, b: jnp.where(x >= 0, x, a * jnp.expm1(jnp.minimum(x, 0))),
    "softsign": lambda x, a, b: x / (1 + jnp.abs(x)),
    "softplus": lambda x, a, b: jnp.logaddexp(x, 0),
}
_FIRST = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "hardsigmoid": 0.2, "elu": 1.0}


def _functions(names: Any, alphas: Any, betas: Any, clip: float | None) -> list[Callable[..., Any]]:
    left, right = list(alphas), list(betas)
    made = []
    for name in names:
        kind = name.lower()
        a = left.pop(0) if left else _FIRST.get(kind, 1.0)
        b = right.pop(0) if right else (0.5 if kind == "hardsigmoid" else 1.0)

        def fn(x: Any, kind: str = kind, a: float = a, b: float = b) -> Any:
            x = x if clip is None else jnp.clip(x, -clip, clip)
            return _ACTIVATIONS[kind](x, a, b).astype(x.dtype)

        made.append(fn)
    return made


def _rnn_cell(w: Any, fns: Any, options: Any) -> Any:
    f = fns[0]

    def cell(state: Any, gates: Any) -> Any:
        (h,) = state
        return (f(gates + h @ w["r"].T + w["rb"]),)

    return cell


def _gru_cell(w: Any, fns: Any, options: Any) -> Any:
    f, g = fns
    rz, rr, rh = jnp.split(w["r"], 3)
    bz, br, bh = jnp.split(w["rb"], 3)

    def cell(state: Any, gates: Any) -> Any:
        (h,) = state
        xz, xr, xh = jnp.split(gates, 3, -1)
        z = f(xz + h @ rz.T + bz)
        r = f(xr + h @ rr.T + br)
        if options["linear_before_reset"]:
            new = g(xh + r * (h @ rh.T + bh))
        else:
            new = g(xh + (r * h) @ rh.T + bh)
        return ((1 - z) * new + z * h,)

    return cell


def _lstm_cell(w: Any, fns: Any, options: Any) -> Any:
    f, g, out = fns
    pi, po, pf = jnp.split(w["p"], 3) if w["p"] is not None else (0, 0, 0)

    def cell(state: Any, gates: Any) -> Any:
        h, c = state
        i, o, forget, new = jnp.split(gates + h @ w["r"].T + w["rb"], 4, -1)
        i = f(i + pi * c)
        forget = 1 - i if options["input_forget"] else f(forget + pf * c)
        c = forget * c + i * g(new)
        return (f(o + po * c) * out(c), c)

    return cell


_CELLS: dict[str, tuple[Any, int, int, tuple[str, ...]]] = {
    # kind: (cell, gates, state tensors, default activations)
    "RNN": (_rnn_cell, 1, 1, ("Tanh",)),
    "GRU": (_gru_cell, 3, 1, ("Sigmoid", "Tanh")),
    "LSTM": (_lstm_cell, 4, 2, ("Sigmoid", "Tanh", "Tanh")),
}


def _direction(x: Any, lengths: Any, state: Any, w: Any, cell: Any, backwards: bool) -> Any:
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
        new = cell(state, gates)
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
    hidden: int,
    direction: str,
    activations: tuple,
    alphas: tuple,
    betas: tuple,
    clip: float | None,
    options: tuple,
) -> tuple[Array, Array, Array]:
    """x: [T, N, I] -> y [T, D, N, H], last h and c [D, N, H]."""
    make, gates, states, default = _CELLS[kind]
    count = w.shape[0]
    names = activations or default * count
    fns = _functions(names, alphas, betas, clip)
    each = len(fns) // count
    outs, lasts = [], []
    zero = jnp.zeros((x.shape[1], hidden), x.dtype)
    for d in range(count):
        bias = jnp.zeros(2 * gates * hidden, x.dtype) if b is None else b[d]
        wb, rb = jnp.split(bias, 2)
        weights = {"w": w[d], "r": r[d], "wb": wb, "rb": rb, "p": None if p is None else p[d]}
        state = tuple(zero if s is None else s[d] for s in (h, c)[:states])
        cell = make(weights, fns[d * each : (d + 1) * each], dict(options))
        y, last = _direction(x, lengths, state, weights, cell, d == 1 or direction == "reverse")
        outs.append(y)
        lasts.append(last)
    ends = [jnp.stack([last[i] for last in lasts]) for i in range(states)]
    return jnp.stack(outs, 1), ends[0], ends[-1]


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
    clip = a.get("clip")
    y, *ends = recurrent(
        x, w, r, b, lengths, h, c, p, kind=kind, hidden=int(r.shape[2]),
        direction=a.get("direction", "forward"), activations=tuple(a.get("activations", ())),
        alphas=tuple(a.get("activation_alpha", ())), betas=tuple(a.get("activation_beta", ())),
        clip=clip or None,
        options=tuple((k, a.get(k, 0)) for k in ("linear_before_reset", "input_forget")),
    )  # fmt: skip
    if batch_first:
        y = y.permute(2, 0, 1, 3)
        ends = [e.transpose(0, 1) for e in ends]
    return (y, *ends)


@rule("RNN")
def rnn(x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, **a: Any) -> Any:
    """h' = f(x W + h R + b)."""
    return _run("RNN", x, w, r, b, lengths, h, None, None, a)[:2]


@rule("GRU")
def gru(x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, **a: Any) -> Any:
    """Gated recurrent unit; gates in the order z, r, h."""
    return _run("GRU", x, w, r, b, lengths, h, None, None, a)[:2]


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
