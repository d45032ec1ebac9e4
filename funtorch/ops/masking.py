"""Elements chosen by a mask: masked_*, where, and the indices of what is not zero."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch import dtypes
from funtorch.device import device_of
from funtorch.dispatch import lay_out, to_host
from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops.indexing import getitem
from funtorch.ops.memory import convert, result_kind
from funtorch.tensor import Tensor, dtype_of, from_host, size_of


@op("method", "inplace", saves=("mask",))
def masked_fill(self: Array, mask: Array, value: Array | Scalar) -> Array:
    """`value` where the mask holds. self: [...], mask: [...] -> broadcast shape"""
    if mask.dtype != jnp.bool_:
        raise RuntimeError(
            f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}"
        )
    if hasattr(value, "ndim") and value.ndim:
        raise RuntimeError(
            "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    if jnp.iscomplexobj(value) and not jnp.iscomplexobj(self):
        raise RuntimeError(f"value cannot be converted to type {self.dtype.name} without overflow")
    return jnp.where(mask, jnp.asarray(value).astype(self.dtype), self)


@composite("method", out="exact apart")
def masked_select(self: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds. A barrier: their number is data. -> [n]"""
    if dtype_of(mask) is not dtypes.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = np.broadcast_shapes(size_of(self), size_of(mask), (1,))
    # A mask from outside of a function under transformation can be read there too.
    return getitem(self.expand(shape), np.broadcast_to(to_host(mask), shape))


@op(function=False, saves=("mask",), grad_name="MaskedScatterBackward0")
def _masked_scatter(self: Array, mask: Array, source: Array) -> Array:
    shape = jnp.broadcast_shapes(self.shape, mask.shape)
    self, mask = jnp.broadcast_to(self, shape), jnp.broadcast_to(mask, shape).reshape(-1)
    order = jnp.clip(jnp.cumsum(mask) - 1, 0, max(source.size - 1, 0))
    if not source.size:
        return self
    return jnp.where(mask, source.reshape(-1)[order], self.reshape(-1)).reshape(shape)


@composite("method", "inplace")
def masked_scatter(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Elements of `source`, in order, where the mask holds, into a copy."""
    if dtype_of(mask) is not dtypes.bool_:
        raise RuntimeError("masked_scatter_ only supports boolean masks")
    if dtype_of(self) is not dtype_of(source):
        raise RuntimeError(
            "masked_scatter_: expected self and source to have same dtypes but got "
            f"{dtype_of(self).name} and {dtype_of(source).name}"
        )
    return _masked_scatter(self, mask, source)


@composite("method")
def nonzero(self: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of the non-zero elements: [n, ndim], or one [n] per dimension. A barrier."""
    found = np.nonzero(np.atleast_1d(to_host(self)))
    where = device_of(self._value.aval.place)
    if as_tuple:
        return tuple(from_host(f, device=where) for f in found)
    if not size_of(self):
        return from_host(np.zeros((len(found[0]), 0), np.int64), device=where)
    made = from_host(np.stack(found, -1).astype(np.int64), device=where)
    lay_out(made, (1, 0))
    return made


@composite("method")
def argwhere(self: Tensor) -> Tensor:
    """Indices of the non-zero elements: [n, ndim]. A barrier."""
    return nonzero(self)


@op(function=False, saves=("condition",), grad_name="WhereBackward0", layout="pointwise")
def _where(condition: Array, self: Array | Scalar, other: Array | Scalar) -> Array:
    return jnp.where(condition, self, other)


@composite(function=False, aliases=("Tensor.where",))
def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """self where the condition holds, else other."""
    return where(condition, self, other)


@composite()
def where(condition: Tensor, self: Any = None, other: Any = None) -> Any:
    """self where the condition holds, else other; with the condition alone: nonzero."""
    if self is None and other is None:
        return nonzero(condition, as_tuple=True)
    if dtype_of(condition) not in (dtypes.bool_, dtypes.uint8):
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{dtype_of(condition).name}"
        )
    if dtype_of(condition) is dtypes.uint8:
        condition = convert(condition, dtypes.bool_, None)
    return _where_promoted(self, other, condition)


def _where_promoted(self: Any, other: Any, condition: Tensor) -> Tensor:
    place = device_of(condition._value.aval.place)
    both_numbers = not isinstance(self, Tensor) and not isinstance(other, Tensor)
    if both_numbers:
        kind = dtypes.promote_types(dtypes.of_scalar(self), dtypes.of_scalar(other))
        self = from_host(np.asarray(self, kind.numpy), device=place)
        other = from_host(np.asarray(other, kind.numpy), device=place)
    kinds = [dtype_of(t) if isinstance(t, Tensor) else None for t in (self, other)]
    if None in kinds or kinds[0] is not kinds[1]:
        from_promotion = result_kind(self, other)
        self, other = (
            convert(t, from_promotion, None)
            if isinstance(t, Tensor)
            else from_host(np.asarray(t).astype(from_promotion.numpy), device=place)
            for t in (self, other)
        )
    return _where(condition, self, other)
