"""A hash of a tensor's elements."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.ops._declare import Array, composite, op
from funtorch.ops.view_ops import wrap_dim
from funtorch.tensor import Tensor, size_of


@op(function=False, differentiable=False)
def _xor_sum(self: Array, axes: Any, keepdim: bool) -> Array:
    """The bits of all elements, as 64-bit numbers, joined by xor. [...] -> [...] of uint64"""
    kind = jnp.float64 if jnp.issubdtype(self.dtype, jnp.floating) else jnp.int64
    wide = self if self.dtype == jnp.uint64 else self.astype(kind)
    bits = lax.bitcast_convert_type(wide, jnp.uint64)
    made = lax.reduce(bits, np.uint64(0), lax.bitwise_xor, axes)
    return jnp.expand_dims(made, axes) if keepdim else made


@composite("method")
def hash_tensor(self: Tensor, dim: Any = (), *, keepdim: bool = False, mode: int = 0) -> Tensor:
    """Elements as 64-bit numbers, reduced by xor over `dim` (all, if empty). [...] -> uint64"""
    if mode != 0:
        raise RuntimeError(f"Unknown hash_tensor mode: {mode}")
    if self.is_complex():
        raise NotImplementedError('"xor_sum_cpu" not implemented for complex numbers')
    given = (dim,) if isinstance(dim, int) else tuple(dim or ())
    if not given and not self.numel():
        raise RuntimeError(
            "hash_tensor: Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument."
        )
    ndim = len(size_of(self))
    axes = tuple(wrap_dim(d, ndim) for d in given) if ndim else ()
    return _xor_sum(self, axes or tuple(range(ndim)), keepdim)
