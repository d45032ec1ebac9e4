"""torch._tensor_str: the text of a tensor's elements, and the options for it."""

from __future__ import annotations

from funtorch.dispatch import to_host
from funtorch.printing import elements_text
from funtorch.printing import options as PRINT_OPTS
from funtorch.tensor import Tensor

__all__ = ["PRINT_OPTS"]


def _tensor_str(self: Tensor, indent: int) -> str:
    """The elements within brackets; lines after the first are indented."""
    return elements_text(to_host(self), indent)
