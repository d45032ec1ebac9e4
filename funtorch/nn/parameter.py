"""Parameter and Buffer: tensors that a module finds by itself."""

from __future__ import annotations

import copy
from typing import Any

from funtorch.ops.creation import empty
from funtorch.ops.memory import _clone
from funtorch.overrides import no_override
from funtorch.tensor import Tensor, as_subclass
from funtorch.tensor_text import text_of


class Parameter(Tensor):
    """A tensor that becomes a parameter of the module it is assigned to."""

    __torch_function__ = staticmethod(no_override)  # type: ignore[assignment]

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = empty(0)
        made = as_subclass(data.detach(), cls)
        made._requires = bool(requires_grad)
        return made

    def __repr__(self) -> str:
        return "Parameter containing:\n" + text_of(
            self, "tensor(" if type(self) is Parameter else None
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        made = type(self)(_clone(self.detach()), self.requires_grad)
        if self._grad is not None:
            made._grad = copy.deepcopy(self._grad, memo)
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_parameter, (self.detach(), self.requires_grad)


def _rebuild_parameter(data: Tensor, requires_grad: bool) -> Parameter:
    return Parameter(data, requires_grad)


class Buffer(Tensor):
    """A tensor that becomes a buffer of the module it is assigned to."""

    persistent: bool
    __torch_function__ = staticmethod(no_override)  # type: ignore[assignment]

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = empty(0)
        made = as_subclass(data.detach(), cls)
        made._requires = bool(data.requires_grad)
        made.persistent = persistent
        return made
