"""Casts to and from types of fewer than eight bits, powers of two, and (on the host) strings."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from onnx import numpy_helper

from funtorch.onnx.rules import Array, kernel

NARROW = ("int4", "uint4", "int2", "uint2")
Host = np.ndarray[Any, Any]


def is_string(value: Any) -> bool:
    """Is it an array of strings?"""
    return isinstance(value, np.ndarray) and value.dtype.kind in "OUST"


@kernel
def cast(x: Array, *, name: str, saturate: bool, round_mode: str) -> Array:
    """x as the type of this name. [...] -> [...]"""
    if name == "float8_e8m0fnu":
        return _power_of_two(x.astype(jnp.float32), saturate, round_mode)
    if name.startswith("float8") and saturate:
        most = float(jnp.finfo(name).max)
        x = jnp.clip(x.astype(jnp.float32), -most, most)
    if name in NARROW and jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(jnp.int32)  # what does not fit wraps around
    return x.astype(np.dtype(name))


def _power_of_two(x: Array, saturate: bool, round_mode: str) -> Array:
    """The exponent of float32 [...], rounded as asked for, as float8_e8m0fnu [...]."""
    bits = lax.bitcast_convert_type(x, jnp.uint32)
    exponent, fraction = (bits >> 23) & 0xFF, bits & 0x7FFFFF
    half = (fraction > 0x400000) | ((fraction == 0x400000) & (exponent > 0))
    up = {"up": fraction > 0, "nearest": half, "down": fraction < 0}[round_mode]
    up &= exponent < (0xFE if saturate else 0xFF)
    return lax.bitcast_convert_type((exponent + up).astype(jnp.uint8), jnp.float8_e8m0fnu)


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
