"""Elementwise functions of sparse tensors: those that keep zeros, and arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.ops._declare import TABLE
from funtorch.ops.memory import clone, convert, parse_to
from funtorch.sparse import compressed as csr
from funtorch.sparse.compressed import CompressedTensor, as_coo, coordinates, from_coo
from funtorch.sparse.coo import CooTensor, coo, handles, is_number, joined, linear
from funtorch.sparse.kernels import added_at, picked
from funtorch.tensor import Tensor, device_of_tensor, from_host, size_of

_NAMES = """
    abs asin asinh atan atanh ceil conj conj_physical deg2rad erf erfinv expm1 floor frac imag isinf
    isnan isneginf isposinf log1p nan_to_num positive rad2deg real relu round sgn sign signbit sin
    sinh sqrt square tan tanh trunc
"""
ZERO_STAYS = tuple(_NAMES.split())
"""f(0) = 0, so that only the values change (those that PyTorch has for sparse tensors)."""


def _on_values(name: str) -> Callable[..., Any]:
    function = TABLE[name].facade

    def unary(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("inplace", None)
        whole = self.coalesce() if isinstance(self, CooTensor) else self
        return whole._with(function(whole._inner, *args, **kwargs))

    return unary


for _name in ZERO_STAYS:
    if _name in TABLE:
        handles(_name)(_on_values(_name))
        csr.HANDLERS[_name] = _on_values(_name)


def for_both(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the tables of both families of layouts."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        csr.HANDLERS.update(dict.fromkeys(names, function))
        return handles(*names)(function)

    return enter


# Copies and casts -------------------------------------------------------------------------------


@for_both("clone")
def _clone(self: Any, *, memory_format: Any = None) -> Any:
    made = self._with(clone(self._inner))
    made._places = clone(self._places)
    return made


@for_both("detach")
def _detach(self: Any) -> Any:
    return self._with(self._inner.detach())


@for_both("to")
def _to(self: Any, *args: Any, **kwargs: Any) -> Any:
    dtype, device, options = parse_to(*args, **kwargs)
    inner = convert(self._inner, dtype, device, copy=options["copy"])
    return self if inner is self._inner else _moved(self, inner)


def _moved(self: Any, inner: Tensor) -> Any:
    """Other values; the indices follow them to their device."""
    where = device_of_tensor(inner)
    made = self._with(inner)
    if where != device_of_tensor(self._places):
        made._places = convert(self._places, None, where)
        if isinstance(made, CompressedTensor):
            made._pointers = convert(self._pointers, None, where)
    return made


def _cast_to(dtype: dtypes.dtype) -> Callable[..., Any]:
    return lambda self, memory_format=None: _to(self, dtype)


for _name, _dtype in [
    *dtypes.ALIASES.items(),
    ("bfloat16", dtypes.bfloat16),
    ("byte", dtypes.uint8),
    ("char", dtypes.int8),
]:
    for_both(_name)(_cast_to(_dtype))


@for_both("type_as")
def _type_as(self: Any, other: Tensor) -> Any:
    return _to(self, other.dtype)


@for_both("cpu")
def _cpu(self: Any, memory_format: Any = None) -> Any:
    return _to(self, "cpu")


@for_both("cuda")
def _cuda(self: Any, device: Any = None, non_blocking: bool = False, **_: Any) -> Any:
    return _to(self, "cuda" if device is None else device)


@for_both("copy_")
def _copy(self: Any, src: Any, non_blocking: bool = False) -> Any:
    if type(self) is not type(src):
        raise RuntimeError(
            "copy_() between dense and sparse Tensors is not implemented! Found self type = "
            f"{self.type() if not isinstance(self, Composed) else self._kind!r} and src type = "
            f"{src.type() if not isinstance(src, Composed) else src._kind!r}"
        )
    return self._become(_to(src, self.dtype))


@for_both("zero_")
def _zero(self: Any) -> Any:
    if isinstance(self, CompressedTensor):
        return self._become(self._with(TABLE["zeros_like"].facade(self._inner)))
    return self._become(_nothing(self, self._inner))


def _nothing(self: CooTensor, like: Tensor) -> CooTensor:
    return coo(self._places[:, :0], TABLE["zeros_like"].facade(like[:0]), size_of(self), True)


@for_both("zeros_like", "empty_like")
def _zeros_like(
    self: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, **how: Any
) -> Any:
    needs = how.pop("requires_grad", False)
    if layout is not None and layout is not self._kind:
        raise NotImplementedError(f"zeros_like of {self._kind!r} with layout={layout!r}")
    plain = convert(self._inner.detach(), dtype, device)
    if isinstance(self, CompressedTensor):
        made: Any = csr.empty_of(self._kind, size_of(self), plain.reshape(-1)[:0])
    else:
        made = _nothing(self, plain)
    return made.requires_grad_(needs)


# Arithmetic -------------------------------------------------------------------------------------


@for_both("neg")
def _neg(self: Any) -> Any:
    return self._with(-self._inner)


@for_both("mul")
def _mul(self: Any, other: Any) -> Any:
    if not isinstance(self, Composed) or (is_number(self) and not is_number(other)):
        self, other = other, self
    if is_number(other):
        return self._with(self._inner * other)
    if isinstance(self, CompressedTensor):
        if isinstance(other, Composed):
            return from_coo(_mul(as_coo(self), _entries_of(other)), self._kind)
        at = picked(other.expand(size_of(self)), coordinates(self))
        return self._with(self._inner * at.reshape(size_of(self._inner)))
    if isinstance(other, Composed):
        other = _entries_of(other)
        return _common(self.coalesce(), other.coalesce(), self._unique and other._unique)
    other = other.expand(size_of(self))
    return self._with(self._inner * picked(other, self._places))


def _entries_of(tensor: Any) -> CooTensor:
    return tensor if isinstance(tensor, CooTensor) else as_coo(tensor)


def _same_size(name: str, one: Any, other: Any) -> None:
    if size_of(one) != size_of(other):
        raise RuntimeError(
            f"{name}: expected 'self' and 'other' to have same sizes, but "
            f"{list(size_of(one))} != {list(size_of(other))}"
        )


def _common(one: CooTensor, other: CooTensor, unique: bool) -> CooTensor:
    """The product of two coalesced tensors: entries where both have one. Reads the indices."""
    _same_size("mul", one, other)
    shape = size_of(one)
    mine, yours = (linear(np.asarray(to_host(t._places)), shape) for t in (one, other))
    _, left, right = np.intersect1d(mine, yours, assume_unique=True, return_indices=True)
    where = device_of_tensor(one)
    i, j = (from_host(index.astype(np.int64), device=where) for index in (left, right))
    values = one._inner.index_select(0, i) * other._inner.index_select(0, j)
    made = coo(one._places.index_select(1, i), values, shape)
    return made._coalesced_(unique)


def _divider(name: str) -> Callable[..., Any]:
    function = TABLE[name].facade

    def divide(self: Any, other: Any, **how: Any) -> Any:
        if not is_number(other) or not isinstance(self, Composed):
            shape = list(size_of(other)) if isinstance(other, Tensor) else []
            raise RuntimeError(
                "Sparse division requires a scalar or zero-dim dense tensor divisor (got shape "
                f"{shape} for divisor)"
            )
        whole = self.coalesce() if how.get("rounding_mode") and self.is_sparse else self
        return whole._with(function(whole._inner, other, **how))

    return divide


for _name in ("div", "true_divide", "floor_divide"):
    for_both(_name)(_divider(_name))


@for_both("pow")
def _pow(self: Any, exponent: Any) -> Any:
    if not is_number(exponent):
        raise NotImplementedError("pow of a sparse tensor takes a number as exponent")
    if exponent == 0:
        raise RuntimeError("pow: a sparse tensor to the power 0 would be dense")
    whole = self.coalesce() if isinstance(self, CooTensor) else self
    return whole._with(whole._inner**exponent)


@for_both("add")
def _add(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    if isinstance(self, Composed) and not isinstance(other, Composed):
        raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
    if not isinstance(self, Tensor):
        raise RuntimeError(
            f"add: expected 'self' and 'other' to have same size, but self is the number {self} and "
            f"other has size {list(size_of(other))}"
        )
    _same_size("add", self, other)
    term = other._inner * alpha if alpha != 1 else other._inner
    if not isinstance(self, Composed):
        entries = _entries_of(other._with(term))
        return added_at(self, entries._inner, entries._places)
    if isinstance(self, CompressedTensor):
        return from_coo(_add(as_coo(self), as_coo(other._with(term))), self._kind)
    both = joined((self, _entries_of(other)._with(term)), size_of(self))
    return both.coalesce() if self._unique and other._unique else both


@for_both("sub")
def _sub(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    return _add(self, other, alpha=-alpha)
