"""ONNX models as trainable modules: `load`, and the interface of `onnx.backend` in `backend`."""

from __future__ import annotations

from importlib import import_module as _import_module

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

__all__ = ["OnnxModule", "UnsupportedNodes", "load"]


def __getattr__(name: str) -> object:
    """The backend costs an import of onnx's checker: only when asked for."""
    if name == "backend":
        return _import_module("funtorch.onnx.backend")
    if name == "prepare":
        return _import_module("funtorch.onnx.backend").prepare
    raise AttributeError(f"module 'funtorch.onnx' has no attribute {name!r}")
