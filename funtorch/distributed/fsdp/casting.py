"""A module whose parameters are in another type while its forward runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from funtorch.nn.module import Module
from funtorch.tensor import Tensor


@contextmanager
def parameters_as(module: Module, dtype: Any) -> Iterator[None]:
    """Floating-point parameters of this type; gradients reach the real ones in their own type."""
    if dtype is None:
        yield
        return
    changed = []
    try:
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None and parameter.is_floating_point():
                    changed.append((part, name, parameter))
                    part._parameters[name] = parameter.to(dtype)
        yield
    finally:
        for part, name, parameter in changed:
            part._parameters[name] = parameter


def floats_as(held: Any, dtype: Any) -> Any:
    """Floating-point tensors in tuples, lists and dicts, in another type."""
    if dtype is None:
        return held
    if isinstance(held, Tensor):
        return held.to(dtype) if held.is_floating_point() else held
    if isinstance(held, tuple | list):
        made = [floats_as(x, dtype) for x in held]
        return type(held)(*made) if hasattr(held, "_fields") else type(held)(made)
    if isinstance(held, dict):
        return type(held)((key, floats_as(x, dtype)) for key, x in held.items())
    return held
