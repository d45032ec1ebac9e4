"""Recurrent layers: RNN, LSTM and GRU."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from funtorch.amp.autocast_mode import is_autocast_enabled
from funtorch.dispatch import to_host
from funtorch.nn import functional as F
from funtorch.nn import init
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.nn.utils.rnn import PackedSequence, lengths_of, packed, unpacked
from funtorch.ops.creation import empty, zeros
from funtorch.ops.joining import cat, stack
from funtorch.ops.nn_rnn import recurrent_layer
from funtorch.tensor import Tensor, from_host

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """Parameters and the walk over layers and directions, common to all recurrent layers."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = float(dropout), bidirectional, proj_size
        self._check()
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for direction in range(self._directions()):
                self._add_layer(layer, direction, device, dtype)
        self.reset_parameters()

    def _check(self) -> None:
        if not isinstance(self.dropout, float) or not 0 <= self.dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                "element being zeroed"
            )
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={self.dropout} and "
                f"num_layers={self.num_layers}",
                stacklevel=4,
            )
        for name, kind in (
            ("bias", bool), ("batch_first", bool), ("input_size", int), ("hidden_size", int),
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise TypeError(
                    f"{name} should be of type {kind.__name__}, got: {type(value).__name__}"
                )
        for name in ("input_size", "hidden_size", "num_layers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if self.proj_size < 0:
            raise ValueError(
                "proj_size should be a positive integer or zero to disable projections"
            )
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")

    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _out_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _add_layer(self, layer: int, direction: int, device: Any, dtype: Any) -> None:
        rows = GATES[self.mode] * self.hidden_size
        width = self.input_size if layer == 0 else self._out_size() * self._directions()
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, width),
            "weight_hh": (rows, self._out_size()),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        names = []
        for name, shape in shapes.items():
            full = f"{name}_l{layer}{'_reverse' if direction else ''}"
            setattr(self, full, Parameter(empty(shape, device=device, dtype=dtype)))
            names.append(full)
        self._all_weights.append(names)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters, by layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing to do: XLA lays weights out as it likes."""

    def _check_dtype(self, input: Any) -> None:
        wanted = getattr(self, self._all_weights[0][0]).dtype
        if input.dtype is not wanted and not is_autocast_enabled(input.device.type):
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({wanted}). Convert "
                f"input: input.to({wanted}), or convert model: model.to({input.dtype})"
            )

    # Forward ----------------------------------------------------------------------------------

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.ndim not in (2, 3):
            raise ValueError(
                f"{self.mode.split('_')[0]}: Expected input to be 2D or 3D, got {input.ndim}D "
                "instead"
            )
        self._check_dtype(input)
        batched = input.ndim == 3
        x = input if batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if self.batch_first and batched else x
        states = self._states(hx, x, batched)
        out, last = self._run(x, states, None)
        out = out.transpose(0, 1) if self.batch_first and batched else out
        if not batched:
            out, last = out.squeeze(1), tuple(s.squeeze(1) for s in last)
        return out, self._as_given(last)

    def _forward_packed(self, input: PackedSequence, hx: Any) -> Any:
        lengths = lengths_of(to_host(input.batch_sizes))
        x = unpacked(input.data, lengths, int(lengths.max()))
        states = self._states(hx, x, True)
        if hx is not None and input.sorted_indices is not None:
            states = tuple(s.index_select(1, input.sorted_indices) for s in states)
        out, last = self._run(x, states, from_host(lengths.astype(np.int64)))
        if input.unsorted_indices is not None:
            last = tuple(s.index_select(1, input.unsorted_indices) for s in last)
        return PackedSequence(packed(out, lengths), *input[1:]), self._as_given(last)

    def _as_given(self, last: tuple[Tensor, ...]) -> Any:
        return last if self.mode == "LSTM" else last[0]

    def _states(self, hx: Any, x: Tensor, batched: bool) -> tuple[Tensor, ...]:
        """Initial states [layers * directions, B, size], checked; zeros if none are given."""
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {x.shape[-1]}"
            )
        rows = self.num_layers * self._directions()
        sizes = [self._out_size(), self.hidden_size][: 2 if self.mode == "LSTM" else 1]
        wanted = [(rows, x.shape[1], size) for size in sizes]
        if hx is None:
            return tuple(zeros(w, dtype=x.dtype, device=x.device) for w in wanted)
        given = tuple(hx) if self.mode == "LSTM" else (hx,)
        if not batched:
            if any(g.ndim != 2 for g in given):
                raise RuntimeError(
                    "For unbatched 2-D input, hx should also be 2-D but got "
                    f"{given[0].ndim}-D tensor"
                )
            given = tuple(g.unsqueeze(1) for g in given)
        elif any(g.ndim != 3 for g in given):
            raise RuntimeError(
                f"For batched 3-D input, hx should also be 3-D but got {given[0].ndim}-D tensor"
            )
        for name, g, w in zip(("hidden[0]", "hidden[1]"), given, wanted, strict=False):
            if tuple(g.shape) != w:
                shown = name if self.mode == "LSTM" else "hidden"
                raise RuntimeError(f"Expected {shown} size {w}, got {list(g.shape)}")
        return given

    def _run(self, x: Tensor, states: tuple[Tensor, ...], lengths: Any) -> Any:
        lasts: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            outs = []
            for direction in range(self._directions()):
                row = layer * self._directions() + direction
                out, *last = self._one(x, row, states, lengths, bool(direction))
                outs.append(out)
                lasts.append(tuple(last))
            x = outs[0] if len(outs) == 1 else cat(outs, -1)
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, True)
        return x, tuple(stack(column) for column in zip(*lasts, strict=True))

    def _one(
        self, x: Tensor, row: int, states: tuple[Tensor, ...], lengths: Any, reverse: bool
    ) -> Any:
        suffix = self._all_weights[row][0].removeprefix("weight_ih")

        def weight(name: str) -> Any:
            return getattr(self, name + suffix, None)

        cell = states[1][row] if len(states) > 1 else None
        return recurrent_layer(
            x, states[0][row], cell, weight("weight_ih"), weight("weight_hh"), weight("bias_ih"),
            weight("bias_hh"), weight("weight_hr"), lengths, self.mode, reverse,
        )  # fmt: skip

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False,
        }  # fmt: skip
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or with relu. [T, B, I] -> [T, B, H]"""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        self.__dict__["nonlinearity"] = nonlinearity
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, 0, device, dtype,
        )  # fmt: skip


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997). [T, B, I] -> [T, B, H]"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al., 2014). [T, B, I] -> [T, B, H]"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)
