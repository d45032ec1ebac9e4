"""torch.onnx.ExportableModule: a module that knows how it is to be exported."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from funtorch.nn.module import Module


class ExportableModule(Module):
    """Subclass it, write `forward` and `example_arguments`; `to_onnx()` or torch.onnx.export exports it."""

    @abstractmethod
    def example_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
        """(positional arguments, keyword arguments or None) for `forward`."""
        raise NotImplementedError

    def dynamic_shapes(self) -> Any:
        """As for torch.onnx.export; None: all sizes are what they are in the example."""
        return None

    def input_names(self) -> Sequence[str] | None:
        """Names of the graph's inputs, if they are to have others than the arguments."""
        return None

    def output_names(self) -> Sequence[str] | None:
        """Names of the graph's outputs."""
        return None

    def to_onnx(self, **kwargs: Any) -> Any:
        """torch.onnx.export(self, **kwargs)"""
        from funtorch.onnx.writing.exporter import export  # (which knows this class)

        return export(self, **kwargs)
