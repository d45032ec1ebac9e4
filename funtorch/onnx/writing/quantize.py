"""Rules of fake quantisation: QuantizeLinear and DequantizeLinear, as runtimes look for them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val

_EXACT = {(0, 15): ml_dtypes.uint4, (-8, 7): ml_dtypes.int4, (0, 2**16 - 1): np.uint16,
          (-(2**15), 2**15 - 1): np.int16}  # fmt: skip
"""Types of opset 21, for whole ranges: Clip does not know all of them."""


def _integers(g: Any, low: int, high: int) -> Any:
    """(type of the integers, must they be clipped?), or None if ONNX has none of that range."""
    exact = _EXACT.get((low, high))
    if exact is not None and g.opset >= 21:
        return np.dtype(exact), False
    for kind in (np.uint8, np.int8):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return np.dtype(kind), (low, high) != (limits.min, limits.max)
    return None


def _there_and_back(
    g: Any, x: Val, scale: Val, zero: Val, low: int, high: int, **where: Any
) -> Any:
    kind = _integers(g, low, high)
    if kind is None or x.dtype != np.float32 or zero.dtype.kind not in "iu":
        return NotImplemented
    integers, clipped = kind
    scale, zero = g.cast(scale, np.float32), g.cast(zero, integers)
    made = g.op("QuantizeLinear", x, scale, zero, dtype=integers, shape=x.shape, **where)
    if clipped:
        bounds = [g.const(b, integers) for b in (low, high)]
        made = g.op("Clip", made, *bounds, shape=x.shape)
    return g.op(
        "DequantizeLinear", made, scale, zero, dtype=np.dtype(np.float32), shape=x.shape, **where
    )


@rule("fake_quantize_per_tensor_affine")
def fake_quantize_per_tensor_affine(
    g: Any, self: Val, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> Any:
    def single(value: Any, dtype: Any) -> Val:
        return g.reshape(value, ()) if isinstance(value, Val) else g.const(value, dtype)  # type: ignore[no-any-return]

    scale, zero = single(scale, np.float32), single(zero_point, np.int32)
    return _there_and_back(g, self, scale, zero, quant_min, quant_max)


@rule("fake_quantize_per_channel_affine")
def fake_quantize_per_channel_affine(
    g: Any, self: Val, scale: Val, zero_point: Val, axis: int, quant_min: int, quant_max: int
) -> Any:
    return _there_and_back(g, self, scale, zero_point, quant_min, quant_max, axis=axis)
