"""torch.onnx.symbolic_helper, as far as packages name it when they declare rules for export.

The rules are those of PyTorch's older exporter, which walks TorchScript. The one here writes what an
op records, so a custom op needs no rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Rule = TypeVar("Rule", bound=Callable[..., object])

__all__ = ["parse_args", "register_custom_op_symbolic"]


def parse_args(*arg_descriptors: str) -> Callable[[Rule], Rule]:
    """A decorator: which of a rule's arguments are values ('v') and which numbers ('f', 'i')."""
    return lambda rule: rule


def register_custom_op_symbolic(
    symbolic_name: str, symbolic_fn: Callable[..., object], opset_version: int
) -> None:
    """Nothing: `torch.onnx.export` here writes what the op's kernel records. ValueError as PyTorch."""
    if symbolic_name.count("::") != 1:
        raise ValueError(
            f"Failed to register operator {symbolic_name}. "
            "The symbolic name must match the format domain::name."
        )
