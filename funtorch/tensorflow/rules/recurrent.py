"""RNN, GRU and LSTM: one loop per direction, any activations, peepholes and lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from funtorch.tensorflow.emission import extents, rule
from funtorch.tensorflow.rules import activations as fns

_ACTIVATIONS: dict[str, tuple[Callable[..., Any], float | None, float | None]] = {
    # name: (function, default alpha, default beta); None where it takes no such parameter
    "relu": (tf.nn.relu, None, None),
    "tanh": (tf.tanh, None, None),
    "sigmoid": (tf.sigmoid, None, None),
    "softsign": (tf.math.softsign, None, None),
    "softplus": (tf.math.softplus, None, None),
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "leakyrelu": (lambda x, a: fns.leaky_relu(x, alpha=a), 0.01, None),
    "thresholdedrelu": (lambda x, a: fns.thresholded_relu(x, alpha=a), 1.0, None),
    "elu": (lambda x, a: fns.elu(x, alpha=a), 1.0, None),
    "scaledtanh": (lambda x, a, b: a * tf.tanh(b * x), 1.0, 1.0),
    "hardsigmoid": (lambda x, a, b: fns.hard_sigmoid(x, alpha=a, beta=b), 0.2, 0.5),
}


def _functions(names: Any, alphas: Any, betas: Any, clip: float | None) -> list[Callable[..., Any]]:
    left, right = list(alphas), list(betas)
    made = []
    for name in names:
        fn, a, b = _ACTIVATIONS[name.lower()]
        given = []
        if a is not None:
            given.append(left.pop(0) if left else a)
        if b is not None:
            given.append(right.pop(0) if right else b)

        def apply(x: Any, fn: Any = fn, given: Any = tuple(given)) -> Any:
            return fn(x if clip is None else tf.clip_by_value(x, -clip, clip), *given)

        made.append(apply)
    return made


def _times(h: Any, r: Any) -> Any:
    return tf.matmul(h, r, transpose_b=True)


def _rnn_cell(w: Any, fns: Any, options: Any) -> Any:
    (f,) = fns
    return lambda gates, h: (f(gates + _times(h, w["r"]) + w["rb"]),)


def _gru_cell(w: Any, fns: Any, options: Any) -> Any:
    f, g = fns
    rz, rr, rh = tf.split(w["r"], 3)
    bz, br, bh = tf.split(w["rb"], 3)

    def cell(gates: Any, h: Any) -> Any:
        xz, xr, xh = tf.split(gates, 3, -1)
        z = f(xz + _times(h, rz) + bz)
        r = f(xr + _times(h, rr) + br)
        if options["linear_before_reset"]:
            new = g(xh + r * (_times(h, rh) + bh))
        else:
            new = g(xh + _times(r * h, rh) + bh)
        return ((1 - z) * new + z * h,)

    return cell


def _lstm_cell(w: Any, fns: Any, options: Any) -> Any:
    f, g, out = fns
    pi, po, pf = tf.split(w["p"], 3) if w["p"] is not None else (0.0, 0.0, 0.0)

    def cell(gates: Any, h: Any, c: Any) -> Any:
        i, o, forget, new = tf.split(gates + _times(h, w["r"]) + w["rb"], 4, -1)
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
    turned = lambda v: (  # noqa: E731
        tf.reverse(v, [0]) if lengths is None else tf.reverse_sequence(v, lengths, 0, 1)
    )
    gates = _times_all(turned(x) if backwards else x, w["w"]) + w["wb"]
    time = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    steps = tf.TensorArray(x.dtype, time, element_shape=gates.shape[1:]).unstack(gates)
    made = tf.TensorArray(x.dtype, time, element_shape=state[0].shape)

    def step(t: Any, made: Any, *state: Any) -> Any:
        new = cell(steps.read(t), *state)
        y = new[0]
        if lengths is not None:
            live = (t < lengths)[:, None]
            y = tf.where(live, y, tf.zeros_like(y))
            new = tuple(tf.where(live, n, s) for n, s in zip(new, state, strict=True))
        return (t + 1, made.write(t, y), *new)

    _, made, *last = tf.while_loop(
        lambda t, *_: t < time, step, (tf.constant(0), made, *state), maximum_iterations=time
    )
    y = made.stack()
    return (turned(y) if backwards else y), last


def _times_all(x: Any, w: Any) -> Any:
    """x: [T, N, I], w: [H, I] -> [T, N, H], as one product."""
    time, batch, size = extents(x)
    flat = tf.matmul(tf.reshape(x, (-1, size)), w, transpose_b=True)
    return tf.reshape(flat, (time, batch, w.shape[0]))


def _run(
    kind: str, x: Any, w: Any, r: Any, b: Any, lengths: Any, first: Any, p: Any, a: dict[str, Any]
) -> tuple[Any, ...]:
    """x: [T, N, I] -> y [T, D, N, H], and the last state, each [D, N, H]."""
    if a.get("layout", 0):
        x, *first = (None if v is None else tf.transpose(v, (1, 0, 2)) for v in (x, *first))
    make, gates, _, default = _CELLS[kind]
    count, hidden = w.shape[0], r.shape[2]
    functions = _functions(
        a.get("activations", default * count), a.get("activation_alpha", ()),
        a.get("activation_beta", ()), a.get("clip") or None,
    )  # fmt: skip
    each = len(functions) // count
    options = {k: a.get(k, 0) for k in ("linear_before_reset", "input_forget")}
    lengths = None if lengths is None else tf.cast(lengths, tf.int32)
    zero = tf.zeros((extents(x)[1], hidden), x.dtype)
    outs, lasts = [], []
    for d in range(count):
        bias = tf.zeros(2 * gates * hidden, x.dtype) if b is None else b[d]
        wb, rb = tf.split(bias, 2)
        weights = {"w": w[d], "r": r[d], "wb": wb, "rb": rb, "p": None if p is None else p[d]}
        state = tuple(zero if s is None else tf.ensure_shape(s[d], zero.shape) for s in first)
        cell = make(weights, functions[d * each : (d + 1) * each], options)
        backwards = d == 1 or a.get("direction") == "reverse"
        y, last = _direction(x, lengths, state, weights, cell, backwards)
        outs.append(y)
        lasts.append(last)
    y = tf.stack(outs, 1)
    ends = [tf.stack(parts) for parts in zip(*lasts, strict=True)]
    if a.get("layout", 0):
        y, ends = tf.transpose(y, (2, 0, 1, 3)), [tf.transpose(e, (1, 0, 2)) for e in ends]
    return (y, *ends)


@rule("RNN")
def rnn(x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, **a: Any) -> Any:
    """h' = f(x W + h R + b)."""
    return _run("RNN", x, w, r, b, lengths, (h,), None, a)


@rule("GRU")
def gru(x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, **a: Any) -> Any:
    """Gated recurrent unit; gates in the order z, r, h."""
    return _run("GRU", x, w, r, b, lengths, (h,), None, a)


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
    return _run("LSTM", x, w, r, b, lengths, (h, c), p, a)
