"""Rules of recurrent layers: one LSTM, GRU or RNN node per layer and direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val

# Which of PyTorch's gates stands at each of ONNX's places: i o f c from i f g o, z r h from r z n.
_GATES = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN_TANH": [0], "RNN_RELU": [0]}


def _ordered(g: Any, x: Val, gates: list[int]) -> Val:
    """Rows of a weight, or of a bias, in ONNX's order of gates. [n H, ...] -> [n H, ...]"""
    if len(gates) == 1:
        return x
    rows, *rest = x.shape  # type: ignore[misc]
    apart = g.reshape(x, (len(gates), rows // len(gates), *rest))
    moved = g.op("Gather", apart, g.ints(gates), axis=0, shape=apart.shape)
    return g.reshape(moved, x.shape)  # type: ignore[no-any-return]


def _state(g: Any, x: Val | None) -> Val | None:
    """An initial state; zeros are what ONNX takes for none."""
    if x is None or (x.array is not None and not x.array.any()):
        return None
    return g.unsqueeze(x, [0])  # type: ignore[no-any-return]


@rule("recurrent_layer")
def recurrent_layer(
    g: Any, self: Val, h0: Val, c0: Val | None, w_ih: Val, w_hh: Val, b_ih: Val | None,
    b_hh: Val | None, w_hr: Val | None, lengths: Val | None, mode: str, reverse: bool,
) -> Any:  # fmt: skip
    if w_hr is not None or self.dtype.name not in ("float32", "float64"):
        return NotImplemented
    gates = _GATES[mode]
    hidden = w_hh.shape[1]  # type: ignore[index]
    steps, batch = self.shape[:2]  # type: ignore[index]
    weights = [g.unsqueeze(_ordered(g, w, gates), [0]) for w in (w_ih, w_hh)]
    bias = None
    if b_ih is not None and b_hh is not None:
        both = [_ordered(g, b, gates) for b in (b_ih, b_hh)]
        bias = g.unsqueeze(g.concat(both, 0), [0])
    lens = None if lengths is None else g.cast(lengths, np.int32)
    attrs: dict[str, Any] = {
        "hidden_size": hidden,
        "direction": "reverse" if reverse else "forward",
    }
    given = [self, *weights, bias, lens, _state(g, h0)]
    kind = mode.split("_")[0]
    if kind == "LSTM":
        given.append(_state(g, c0))
    elif kind == "GRU":
        attrs["linear_before_reset"] = 1
    elif mode == "RNN_RELU":
        attrs["activations"] = ["Relu"]
    outs = g.op(kind, *given, n=3 if kind == "LSTM" else 2, **attrs)
    shapes = [(steps, 1, batch, hidden), (1, batch, hidden), (1, batch, hidden)]
    for out, shape in zip(outs, shapes, strict=False):
        out.shape = out.held = shape
    return [g.squeeze(outs[0], [1]), *(g.squeeze(o, [0]) for o in outs[1:])]
