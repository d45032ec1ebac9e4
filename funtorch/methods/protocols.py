"""What Python asks of a tensor: len, iter, bool, indexing, copies, printing."""

from __future__ import annotations

from typing import Any

from funtorch.copying import deepcopy_tensor, reduce_tensor
from funtorch.methods.table import METHODS, method
from funtorch.methods.values import item
from funtorch.ops import indexing
from funtorch.overrides import LAYOUTS, override, overriding, watch
from funtorch.tensor import Tensor, dtype_of
from funtorch.tensor import as_subclass as tensor_as
from funtorch.tensor_text import text_of


@method
def __len__(self: Tensor) -> int:
    if not self._value.aval.ndim:
        raise TypeError("len() of a 0-d tensor")
    return self._value.aval.shape[0]


@method
def __iter__(self: Tensor) -> Any:
    if not self._value.aval.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


@method
def __bool__(self: Tensor) -> bool:
    count = self._value.aval.size
    if count == 0:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
    if count > 1:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(item(self))


@method
def __int__(self: Tensor) -> int:
    return int(item(self))


@method
def __float__(self: Tensor) -> float:
    return float(item(self))


@method
def __complex__(self: Tensor) -> complex:
    return complex(item(self))


@method
def __index__(self: Tensor) -> int:
    if dtype_of(self).category > 1 or self._value.aval.size != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(item(self))


@method
def __contains__(self: Tensor, element: Any) -> bool:
    if not isinstance(element, Tensor | int | float | complex | bool):
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
            f"{element.__class__}."
        )
    return bool((self == element).any())


@method
def __hash__(self: Tensor) -> int:
    return id(self)


def _asked(self: Tensor, key: Any) -> list[Any] | None:
    """Who overrides an indexing. Other layouts take part in the views and gathers it is made of."""
    return overriding((self, key), {}) if watch.on and type(self) not in LAYOUTS else None


@method
def __getitem__(self: Tensor, key: Any) -> Tensor:
    found = _asked(self, key)
    if found is not None:
        taken: Tensor = override(METHODS["__getitem__"], found, (self, key), {})
        return taken
    return indexing.getitem(self, key)


@method
def __setitem__(self: Tensor, key: Any, value: Any) -> None:
    found = _asked(self, key)
    if found is not None:
        override(METHODS["__setitem__"], found, (self, key, value), {})
        return
    indexing.setitem(self, key, value)


def _make_subclass(cls: Any, data: Tensor, require_grad: bool = False) -> Any:
    """A leaf of a subclass on the memory of `data`."""
    made = tensor_as(data.detach(), cls)
    made._requires = require_grad
    return made


METHODS["_make_subclass"] = staticmethod(_make_subclass)
METHODS["__deepcopy__"] = deepcopy_tensor
METHODS["__reduce_ex__"] = reduce_tensor


@method
def __repr__(self: Tensor, *, tensor_contents: Any = None) -> str:
    return text_of(self)


@method
def __format__(self: Tensor, spec: str) -> str:
    if self.__class__ is Tensor and self._value.aval.ndim == 0 and not self.is_meta:
        return format(item(self), spec)
    return object.__format__(self, spec)
