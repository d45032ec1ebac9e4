"""RNN, GRU and LSTM: one loop per direction, any activations, peepholes and lengths."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from funtorch.onnx.cells import Library, layer
from funtorch.tensorflow.emission import extents, rule
from funtorch.tensorflow.rules import activations as fns

_LIBRARY = Library(
    functions={
        "relu": tf.nn.relu,
        "tanh": tf.tanh,
        "sigmoid": tf.sigmoid,
        "softsign": tf.math.softsign,
        "softplus": tf.math.softplus,
        "affine": lambda x, a, b: a * x + b,
        "leakyrelu": lambda x, a: fns.leaky_relu(x, alpha=a),
        "thresholdedrelu": lambda x, a: fns.thresholded_relu(x, alpha=a),
        "elu": lambda x, a: fns.elu(x, alpha=a),
        "scaledtanh": lambda x, a, b: a * tf.tanh(b * x),
        "hardsigmoid": lambda x, a, b: fns.hard_sigmoid(x, alpha=a, beta=b),
    },
    split=tf.split,
    times=lambda h, r: tf.matmul(h, r, transpose_b=True),
    clip=tf.clip_by_value,
    zeros=tf.zeros,
    stack=tf.stack,
)


def _direction(lengths: Any, x: Any, state: Any, w: Any, cell: Any, backwards: bool) -> Any:
    """One direction. x: [T, N, I] -> ([T, N, H], last state)"""
    turned = lambda v: (  # noqa: E731
        tf.reverse(v, [0]) if lengths is None else tf.reverse_sequence(v, lengths, 0, 1)
    )
    gates = _times_all(turned(x) if backwards else x, w["w"]) + w["wb"]
    time = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    state = tuple(tf.ensure_shape(s, (x.shape[1], w["r"].shape[1])) for s in state)
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
    lengths = None if lengths is None else tf.cast(lengths, tf.int32)
    direction = functools.partial(_direction, lengths)
    y, *ends = layer(_LIBRARY, kind, direction, extents(x)[1], x, w, r, b, first, p, a)
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
