"""Types that XLA or PyTorch lack: fewer than eight bits, powers of two, and strings, on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

HOST_TYPES = {"str", "int4", "uint4", "int2", "uint2", "float4_e2m1fn", "float8_e8m0fnu"}
Host = np.ndarray[Any, Any]


def is_string(value: Any) -> bool:
    """Is it an array of strings?"""
    return isinstance(value, np.ndarray) and value.dtype.kind in "OUST"


def cast_on_host(x: Host, name: str, saturate: bool, round_mode: str) -> Host:
    """x as the type of this name."""
    if name == "str":
        return x.astype(str).astype(object)
    dtype = np.dtype(name)
    if name == "float8_e8m0fnu":
        return numpy_helper.to_float8e8m0(x, saturate, round_mode)
    if is_string(x):
        return np.array([_number(text) for text in x.reshape(-1)]).reshape(x.shape).astype(dtype)
    if name.startswith("float8") and saturate:
        return np.asarray(numpy_helper.saturate_cast(x, dtype))
    return x.astype(dtype)


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        return float(text)
