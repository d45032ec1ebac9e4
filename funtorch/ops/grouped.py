"""Products of groups of matrices whose sizes differ, for mixtures of experts."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from funtorch.ops._declare import Array, Dtype, composite, op
from funtorch.tensor import Tensor


@op(function=False)
def _grouped_mm(self: Array, mat2: Array, offs: Array | None, dtype: Dtype) -> Array:
    """One product per group; offs [g]: where each group ends in the dimension that is cut.

    [m, k], [g, k, n] -> [m, n] and [g, m, k], [k, n] -> [m, n]: rows, or columns, are cut;
    [m, k], [k, n] -> [g, m, n]: the common dimension is; [g, m, k], [g, k, n] -> [g, m, n]: none.
    """
    if self.ndim == mat2.ndim == 3:
        return jnp.matmul(self, mat2).astype(dtype)
    assert offs is not None
    sizes = jnp.diff(offs, prepend=0).astype(jnp.int32)
    if self.ndim == 2 and mat2.ndim == 3:
        return lax.ragged_dot(self, mat2, sizes).astype(dtype)
    if self.ndim == 3:
        return lax.ragged_dot(mat2.T, jnp.swapaxes(self, 1, 2), sizes).T.astype(dtype)
    place = jnp.arange(self.shape[1])
    inside = (place < offs[:, None]) & (place >= (offs - sizes)[:, None])
    return jnp.einsum("mk,gk,kn->gmn", self, inside.astype(self.dtype), mat2).astype(dtype)


def _check(one: Tensor, other: Tensor, offs: Tensor | None, bias: Tensor | None) -> None:
    for name, x in (("mat_a", one), ("mat_b", other)):
        if x.ndim not in (2, 3):
            raise RuntimeError(f"{name} has to be 2 or 3d")
    if (offs is not None) != (one.ndim == 2 or other.ndim == 2):
        raise RuntimeError(
            "Have to provide offsets if there is a 2d matrix, or no offset if both matrices are 3d"
        )
    if one.shape[-1] != other.shape[-2]:
        raise RuntimeError("contraction dimension of mat_a and mat_b must match")
    if bias is not None:
        raise RuntimeError("Bias not supported yet")


@composite("functional", function=False)
def grouped_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    *,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: Dtype = None,
) -> Tensor:
    """Products of groups: rows or columns up to offs[0], from there to offs[1], and so on.

    [m, k], [g, k, n] -> [m, n]; [g, m, k], [k, n] -> [m, n]; [m, k], [k, n] -> [g, m, n];
    [g, m, k], [g, k, n] -> [g, m, n]. Rows that are in no group give zeros.
    """
    _check(mat_a, mat_b, offs, bias)
    made: Tensor = _grouped_mm(mat_a, mat_b, offs, mat_a.dtype if out_dtype is None else out_dtype)
    return made
