"""Comparison, choice and casts: the ops that also take strings or narrow types."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from funtorch.onnx import narrow
from funtorch.onnx.elementwise import aligned
from funtorch.onnx.narrow import cast_on_host, is_string
from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor


@rule("Equal", raw=True)
def equal(a: Any, b: Any, *, ctx: Any, broadcast: int = 0, axis: int | None = None) -> Any:
    """a == b, strings too."""
    if is_string(a):
        return np.asarray(a == b)
    a, b = ctx.tensor(a), ctx.tensor(b)
    return a == aligned(a, b, axis)


@rule("Where", raw=True)
def where(condition: Any, a: Any, b: Any, *, ctx: Any) -> Any:
    """a where condition holds, else b."""
    if is_string(a):
        return np.where(ctx.host(condition), a, b)
    return _where(ctx.tensor(condition), ctx.tensor(a), ctx.tensor(b))


@kernel
def _where(condition: Array, a: Array, b: Array) -> Array:
    return jnp.where(condition, a, b)


@rule("Cast", raw=True)
def cast(x: Any, *, ctx: Any, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    """x as another type."""
    return cast_to(ctx, x, np.dtype(tensor_dtype_to_np_dtype(to)), saturate, round_mode, to)


@rule("CastLike", raw=True)
def cast_like(x: Any, like: Any, *, ctx: Any, saturate: int = 1, round_mode: str = "up") -> Any:
    """x as the type of another value."""
    dtype = like.dtype.numpy if isinstance(like, Tensor) else like.dtype
    return cast_to(ctx, x, dtype, saturate, round_mode, 0)


def cast_to(ctx: Any, x: Any, dtype: np.dtype[Any], saturate: int, round_mode: str, to: int) -> Any:
    """x as `dtype`: on the device if both types live there, else on the host."""
    name = "str" if dtype.kind in "OUST" or to == _STRING else dtype.name
    if isinstance(x, Tensor) and name != "str":
        return narrow.cast(x, name=name, saturate=bool(saturate), round_mode=round_mode)
    return cast_on_host(np.asarray(ctx.host(x)), name, bool(saturate), round_mode)


_STRING = 8  # TensorProto.STRING
