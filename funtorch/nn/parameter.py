"""Parameter and Buffer: tensors that a module finds by itself."""

from __future__ import annotations

import copy
from typing import Any

from funtorch.ops.creation import empty
from funtorch.ops.memory import _clone
from funtorch.overrides import LAYOUTS, no_override, overrides
from funtorch.tensor import Tensor, as_subclass, copy_window
from funtorch.tensor_text import text_of


class _ParameterMeta(type(Tensor)):  # type: ignore[misc]
    """A tensor of another class is a Parameter too, once it was made one."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(cls, instance) or (
            cls is Parameter and isinstance(instance, Tensor) and hasattr(instance, "_is_param")
        )


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that becomes a parameter of the module it is assigned to.

    Of a subclass that takes part in calls (`__torch_function__`) it is an instance of that subclass.
    """

    __torch_function__ = staticmethod(no_override)  # type: ignore[assignment]

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = empty(0)
        if cls is Parameter and overrides(type(data)) and type(data) not in LAYOUTS:
            return _marked(data, requires_grad)
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


def _marked(data: Tensor, requires_grad: bool) -> Any:
    """A leaf of the class of `data` that counts as a Parameter."""
    made: Any = data.detach().requires_grad_(requires_grad)
    if type(made) is not type(data):
        raise RuntimeError(
            "Creating a Parameter from an instance of type "
            f"{type(data).__name__} requires that detach() returns an instance of the same type, "
            f"but return type {type(made).__name__} was found instead. To use the type as a "
            "Parameter, please correct the detach() semantics defined by its __torch_dispatch__() "
            "implementation."
        )
    made._is_param = True
    return made


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


class _Uninitialized:
    """A tensor without a shape yet. What would read it raises ValueError."""

    __torch_function__ = staticmethod(no_override)

    def materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give it memory and a shape; it is an ordinary parameter or buffer from here on."""
        made = empty(shape, device=device or self.device, dtype=dtype or self.dtype)
        copy_window(self, made)
        self.__class__ = self.becomes

    @property
    def shape(self) -> Any:
        """Not known yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            made = type(self)(device=self.device, dtype=self.dtype)
            made._requires = self._requires
            memo[id(self)] = made
        return memo[id(self)]

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        return type(self), (self.requires_grad, self.device, self.dtype)


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter whose shape is not known yet."""

    becomes = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return super().__new__(cls, empty(0, device=device, dtype=dtype), requires_grad)


class UninitializedBuffer(_Uninitialized, Tensor):
    """A buffer whose shape is not known yet."""

    becomes = Tensor

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> Any:
        made = super().__new__(cls, empty(0, device=device, dtype=dtype))
        made._requires = requires_grad
        return made


def is_lazy(tensor: Any) -> bool:
    """Has this parameter or buffer no shape yet?"""
    return isinstance(tensor, _Uninitialized)


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments among these that factory functions take. Raises TypeError for others.

    A dictionary `factory_kwargs` among them is merged in.
    """
    given = dict(kwargs or {})
    made = dict(given.pop("factory_kwargs", {}))
    known = {"device", "dtype", "memory_format"}
    if not given.keys() <= known:
        raise TypeError(f"unexpected kwargs {given.keys() - known}")
    twice = given.keys() & made.keys()
    if twice:
        raise TypeError(f"{min(twice)} specified twice, in **kwargs and in factory_kwargs")
    return {**made, **given}
