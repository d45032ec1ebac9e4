"""Rules of JAX's primitives: what writes every op that has no rule of its own, gradients too."""

from __future__ import annotations

from funtorch.onnx.writing.primitives import (
    arithmetic,
    complexes,
    control,
    indexing,
    reductions,
    structure,
    windows,
)
