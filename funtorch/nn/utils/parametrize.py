"""Parametrizations: parameters computed from other ones (`torch.nn.utils.parametrize`)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from funtorch.grad_mode import no_grad
from funtorch.nn.containers import ModuleDict, ModuleList
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.tensor import Tensor

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_cache: dict[tuple[int, str], Tensor] = {}
_depth = [0]


@contextmanager
def cached() -> Iterator[None]:
    """Within this region each parametrized tensor is computed once."""
    _depth[0] += 1
    try:
        yield
    finally:
        _depth[0] -= 1
        if not _depth[0]:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and the parameters it is computed from."""

    def __init__(self, modules: Any, original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, kind = original.shape, original.dtype
        new = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):
                        new = module.right_inverse(new)
        self.is_tensor = isinstance(new, Tensor)
        if self.is_tensor:
            _register(self, "original", original, new)
        else:
            if not isinstance(new, tuple | list):
                raise ValueError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...)"
                    f". Got {type(new).__name__}"
                )
            self.ntensors = len(new)
            for i, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "When right_inverse outputs a Sequence of tensors, it must be all tensors, "
                        f"but element {i} is of type {type(part).__name__}"
                    )
                _register(self, f"original{i}", original, part)
        if not unsafe:
            made = self()
            if not isinstance(made, Tensor):
                raise ValueError(
                    f"A parametrization must return a tensor. Got {type(made).__name__}."
                )
            if made.dtype is not kind or made.shape != shape:
                raise ValueError(
                    "Registering a parametrization may not change the shape or the dtype of the "
                    f"tensor, unless unsafe=True. It was {tuple(shape)} {kind}, and is "
                    f"{tuple(made.shape)} {made.dtype}"
                )

    def _originals(self) -> list[Tensor]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the parameters so that `forward` gives `value`."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                value = module.right_inverse(value)
            parts = [value] if self.is_tensor else list(value)
            for own, new in zip(self._originals(), parts, strict=True):
                own.copy_(new)

    def forward(self) -> Tensor:
        modules = list(self)
        made = modules[0](*self._originals())
        for module in modules[1:]:
            made = module(made)
        return made


def _register(owner: Module, name: str, like: Tensor, value: Tensor) -> None:
    """As a parameter if `like` is one, else as a buffer."""
    if isinstance(like, Parameter):
        made = value if value is like else Parameter(value.detach(), like.requires_grad)
        owner.register_parameter(name, made)
    else:
        owner.register_buffer(name, value)


def _inject_class(module: Module) -> None:
    """Give the module a class of its own, to which properties can be added."""
    base = type(module)

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        made = self.__new__(type(self))
        memo[id(self)] = made
        made.__dict__ = copy.deepcopy(self.__dict__, memo)
        return made

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict()."
        )

    members = {"__reduce_ex__": __reduce_ex__, "__deepcopy__": __deepcopy__}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), members)


def _inject_property(module: Module, name: str) -> None:
    def get(self: Any) -> Tensor:
        made = self.parametrizations[name]
        if not _depth[0]:
            return made()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = made()
        return _cache[key]

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(get, put))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Make module.tensor_name the value of parametrization(original parameter)."""
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        known = module.parametrizations[tensor_name]
        if not unsafe:
            before = getattr(module, tensor_name)
            after = parametrization(before)
            if after.dtype is not before.dtype or after.shape != before.shape:
                raise ValueError(
                    "Registering a parametrization may not change the shape or the dtype of the "
                    "tensor, unless unsafe=True."
                )
        known.append(parametrization)
        known.unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(
            f"Module '{type(module).__name__}' does not have a parameter, a buffer, or a "
            f"parametrized element with name '{tensor_name}'"
        )
    original = getattr(module, tensor_name)
    made = ParametrizationList([parametrization], original, unsafe=unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _inject_class(module)
        module.parametrizations = ModuleDict()
    _inject_property(module, tensor_name)
    module.parametrizations[tensor_name] = made
    return module


def is_parametrized(module: Any, tensor_name: str | None = None) -> bool:
    """Has the module (or one of its tensors) a parametrization?"""
    found = getattr(module, "parametrizations", None)
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Put a plain parameter back: the computed value, or the original one."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    chosen = module.parametrizations[tensor_name]
    originals = chosen._originals()
    learns = any(isinstance(o, Parameter) for o in originals)
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name).clone()
        value = Parameter(value, originals[0].requires_grad) if learns else value
    elif chosen.is_tensor:
        value = chosen.original
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if isinstance(value, Parameter):
        module.register_parameter(tensor_name, value)
    else:
        module.register_buffer(tensor_name, value)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a module without its parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Register from_module's parametrizations on to_module, with its parameters."""
    if not is_parametrized(from_module):
        return to_module
    names = [tensor_name] if tensor_name is not None else list(from_module.parametrizations.keys())
    for name in names:
        chosen = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, getattr(from_module, name))
        for module in chosen:
            register_parametrization(to_module, name, module)
        target = to_module.parametrizations[name]
        parts = (
            ["original"] if chosen.is_tensor else [f"original{i}" for i in range(chosen.ntensors)]
        )
        for part in parts:
            setattr(target, part, getattr(chosen, part))
    return to_module
