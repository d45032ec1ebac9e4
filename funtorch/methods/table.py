"""The table of methods and attributes; `_surface.bind` enters it into Tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

METHODS: dict[str, Any] = {}


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a method of Tensor."""
    METHODS[function.__name__] = function
    return function


def attribute(function: Callable[..., Any]) -> Any:
    """Make a function a read-only attribute of Tensor."""
    made = METHODS[function.__name__] = property(function)
    return made
