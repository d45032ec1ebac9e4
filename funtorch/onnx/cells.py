"""RNN, GRU and LSTM for any library of arrays: what a step computes, with which functions.

The loop over steps is the library's own; `layer` calls it once per direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_PARAMETERS: dict[str, tuple[float, ...]] = {
    # defaults of alpha and beta, of functions that have them
    "affine": (1.0, 0.0),
    "elu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01,),
    "scaledtanh": (1.0, 1.0),
    "thresholdedrelu": (1.0,),
}


class Library(NamedTuple):
    """What the cells need of arrays."""

    functions: Mapping[str, Callable[..., Any]]  # name -> f(x), f(x, alpha) or f(x, alpha, beta)
    split: Callable[[Any, int, int], Any]  # array, number of parts, axis
    times: Callable[[Any, Any], Any]  # h [N, H], r [M, H] -> h r^T [N, M]
    clip: Callable[[Any, float, float], Any]
    zeros: Callable[[Any, Any], Any]  # shape, dtype
    stack: Callable[[Sequence[Any], int], Any]


def _activations(lib: Library, names: Any, a: Mapping[str, Any]) -> list[Callable[[Any], Any]]:
    """The functions by name. Alphas and betas are taken in order, by those that have one."""
    given = [list(a.get(key, ())) for key in ("activation_alpha", "activation_beta")]
    clip = a.get("clip")
    made = []
    for name in map(str.lower, names):
        function, defaults = lib.functions[name], _PARAMETERS.get(name, ())
        values = [v.pop(0) if v else d for v, d in zip(given, defaults, strict=False)]

        def apply(x: Any, fn: Any = function, values: Any = values) -> Any:
            return fn(lib.clip(x, -clip, clip) if clip else x, *values)

        made.append(apply)
    return made


def _rnn(lib: Library, w: Any, fns: Any, a: Mapping[str, Any]) -> Any:
    (f,) = fns
    return lambda gates, h: (f(gates + lib.times(h, w["r"]) + w["rb"]),)


def _gru(lib: Library, w: Any, fns: Any, a: Mapping[str, Any]) -> Any:
    f, g = fns
    rz, rr, rh = lib.split(w["r"], 3, 0)
    bz, br, bh = lib.split(w["rb"], 3, 0)

    def cell(gates: Any, h: Any) -> Any:
        xz, xr, xh = lib.split(gates, 3, -1)
        z = f(xz + lib.times(h, rz) + bz)
        r = f(xr + lib.times(h, rr) + br)
        if a.get("linear_before_reset"):
            new = g(xh + r * (lib.times(h, rh) + bh))
        else:
            new = g(xh + lib.times(r * h, rh) + bh)
        return ((1 - z) * new + z * h,)

    return cell


def _lstm(lib: Library, w: Any, fns: Any, a: Mapping[str, Any]) -> Any:
    f, g, out = fns
    pi, po, pf = lib.split(w["p"], 3, 0) if w["p"] is not None else (0, 0, 0)

    def cell(gates: Any, h: Any, c: Any) -> Any:
        i, o, forget, new = lib.split(gates + lib.times(h, w["r"]) + w["rb"], 4, -1)
        i = f(i + pi * c)
        forget = 1 - i if a.get("input_forget") else f(forget + pf * c)
        c = forget * c + i * g(new)
        return (f(o + po * c) * out(c), c)

    return cell


_KINDS: dict[str, tuple[Any, int, tuple[str, ...]]] = {
    # kind: (cell, gates, default activations)
    "RNN": (_rnn, 1, ("Tanh",)),
    "GRU": (_gru, 3, ("Sigmoid", "Tanh")),
    "LSTM": (_lstm, 4, ("Sigmoid", "Tanh", "Tanh")),
}


def layer(
    lib: Library,
    kind: str,
    direction: Callable[..., Any],
    batch: Any,
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    first: Sequence[Any],
    p: Any,
    a: Mapping[str, Any],
) -> tuple[Any, ...]:
    """x: [T, N, I] -> y [T, D, N, H], and the last state, each [D, N, H].

    first: the initial state, each [D, N, H] or None. a: the node's attributes. batch: N.
    direction(x, state, weights, cell, backwards) -> (y [T, N, H], last state), where weights are those
    of the input (w, wb) and of the state (r, rb), and cell(gates, *state) is one step.
    """
    make, gates, default = _KINDS[kind]
    count, hidden = w.shape[0], r.shape[2]
    functions = _activations(lib, a.get("activations") or default * count, a)
    each = len(functions) // count
    zero = lib.zeros((batch, hidden), x.dtype)
    outs, lasts = [], []
    for d in range(count):
        bias = lib.zeros((2 * gates * hidden,), x.dtype) if b is None else b[d]
        wb, rb = lib.split(bias, 2, 0)
        weights = {"w": w[d], "r": r[d], "wb": wb, "rb": rb, "p": None if p is None else p[d]}
        state = tuple(zero if s is None else s[d] for s in first)
        cell = make(lib, weights, functions[d * each : (d + 1) * each], a)
        backwards = d == 1 or a.get("direction") == "reverse"
        y, last = direction(x, state, weights, cell, backwards)
        outs.append(y)
        lasts.append(last)
    return (lib.stack(outs, 1), *[lib.stack(parts, 0) for parts in zip(*lasts, strict=True)])
