"""Products of float8 matrices with scales, as PyTorch's CPU computes them: in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from funtorch import dtypes
from funtorch.ops._declare import Array, Dtype, composite, op
from funtorch.ops.creation import finish
from funtorch.tensor import Tensor, dtype_of, size_of

TENSORWISE, ROWWISE = 0, 1
"""The kinds of scaling (`torch.nn.functional.ScalingType`) that PyTorch's CPU has."""


@op(function=False, differentiable=False)
def _scaled_product(
    self: Array, mat2: Array, scale_a: Array, scale_b: Array, bias: Array | None, dtype: Dtype
) -> Array:
    """(self * scale_a) @ (mat2 * scale_b) + bias. [m, k], [k, n], [] or [m, 1], [] or [1, n]"""
    one = self.astype(jnp.float32) * (scale_a if scale_a.size > 1 else scale_a.reshape(()))
    other = mat2.astype(jnp.float32) * (scale_b if scale_b.size > 1 else scale_b.reshape(()))
    out = one @ other
    out = out if bias is None else out + bias.astype(jnp.float32)
    if dtype == jnp.float8_e4m3fn:  # it has no infinity
        most = float(jnp.finfo(dtype).max)
        out = jnp.clip(out, -most, most)
    return out.astype(dtype)


def _is_float8(tensor: Tensor) -> bool:
    return dtype_of(tensor).name.startswith("float8")


def _check(one: Tensor, other: Tensor, scales: Sequence[Tensor]) -> None:
    if one.ndim != 2 or other.ndim != 2:
        raise RuntimeError("mat_a and mat_b must be matrices")
    (m, k), (rows, n) = size_of(one), size_of(other)
    if k != rows:
        raise RuntimeError(f"mat_a and mat_b shapes cannot be multiplied ({m}x{k} and {rows}x{n})")
    shapes = [size_of(s) for s in scales]
    single = all(s.numel() == 1 for s in scales)
    fits = single or shapes == [(m, 1), (1, n)]
    floats = all(dtype_of(s) is dtypes.float32 for s in scales)
    if not (fits and floats and _is_float8(one) and _is_float8(other)):
        raise ValueError(
            "Invalid scaling configuration.\n- For TensorWise scaling, a and b should be float8, "
            "scales should be float and singletons.\n- For RowWise scaling, a and b should be "
            f"float8, scales should be float, scale_a should be ({m}, 1) and scale_b should be "
            f"(1, {n}), and both should be contiguous.\nGot scales of shapes {shapes}."
        )


@composite()
def _scaled_mm(
    self: Tensor,
    mat2: Tensor,
    scale_a: Tensor,
    scale_b: Tensor,
    bias: Tensor | None = None,
    scale_result: Tensor | None = None,
    out_dtype: Any = None,
    use_fast_accum: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """The product of two float8 matrices with a scale each, or one per row and column.

    [m, k] @ [k, n] -> [m, n] of out_dtype (the type of self). scale_result counts on GPUs only.
    """
    _check(self, mat2, (scale_a, scale_b))
    if out is not None and out_dtype not in (None, dtype_of(out)):
        raise ValueError("out_dtype must match output matrix type")
    kind = out_dtype or dtype_of(self if out is None else out)
    return finish(_scaled_product(self, mat2, scale_a, scale_b, bias, kind), False, out)


@composite()
def _scaled_mm_v2(
    self: Tensor,
    mat2: Tensor,
    scale_a: Sequence[Tensor],
    recipe_a: Sequence[Any],
    swizzle_a: Sequence[Any],
    scale_b: Sequence[Tensor],
    recipe_b: Sequence[Any],
    swizzle_b: Sequence[Any],
    bias: Tensor | None,
    out_dtype: Any,
    contraction_dim: Sequence[int] = (),
    use_fast_accum: bool = False,
) -> Tensor:
    """`_scaled_mm` with its kinds of scaling said; scales by blocks are for GPUs. [m, n]"""
    kinds = [_number(r) for r in (*recipe_a, *recipe_b)]
    if kinds not in ([TENSORWISE] * 2, [ROWWISE] * 2):
        raise ValueError(f"Invalid scaling configuration: {kinds}; the CPU has 0 and 1, for both")
    return _scaled_mm(self, mat2, scale_a[0], scale_b[0], bias, None, out_dtype)


def _number(recipe: Any) -> int:
    return recipe if isinstance(recipe, int) else int(recipe.value)
