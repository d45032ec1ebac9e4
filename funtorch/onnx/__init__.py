"""ONNX models as trainable modules: `load`, the interface of `onnx.backend`; and `export`."""

from __future__ import annotations

from importlib import import_module as _import_module

from funtorch.compiler.state import is_in_onnx_export
from funtorch.onnx import (
    activations,
    classifiers,
    comparison,
    control,
    convolution,
    elementwise,
    hosts,
    images,
    indexing,
    learning,
    linear,
    manipulation,
    normalization,
    ops,
    pooling,
    quantization,
    randomness,
    recurrent,
    reductions,
    resize,
    sequences,
    signal,
    sorting,
    text,
    training,
    vision,
)
from funtorch.onnx.module import OnnxModule, load
from funtorch.onnx.rules import UnsupportedNodes
from funtorch.onnx.stored import add_onnx
from funtorch.onnx.symbolic_helper import register_custom_op_symbolic
from funtorch.onnx.writing import (
    ExportableModule,
    OnnxExporterError,
    ONNXProgram,
    OperatorExportTypes,
    TrainingMode,
    TrainingProgram,
    UnsupportedOps,
    export,
    export_training_step,
)

__all__ = [
    "ExportableModule",
    "ONNXProgram",
    "OnnxExporterError",
    "OnnxModule",
    "OperatorExportTypes",
    "TrainingMode",
    "TrainingProgram",
    "UnsupportedNodes",
    "UnsupportedOps",
    "add_onnx",
    "export",
    "export_training_step",
    "is_in_onnx_export",
    "load",
    "ops",
    "register_custom_op_symbolic",
]


def __getattr__(name: str) -> object:
    """The backend costs an import of onnx's checker: only when asked for."""
    if name == "backend":
        return _import_module("funtorch.onnx.backend")
    if name == "prepare":
        return _import_module("funtorch.onnx.backend").prepare
    raise AttributeError(f"module 'funtorch.onnx' has no attribute {name!r}")
