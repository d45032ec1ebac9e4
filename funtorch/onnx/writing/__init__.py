"""Writing ONNX: `export`. See `docs/interchange.md`.

`exporter` records a call; `emit` walks its ops; `table` has the rule of each, which lies in the file
of its family; ops without a rule are written by the `primitives` of their lowering; `graph` is what
rules write into; `proto`, `program`, `external` make messages and files of it, `check` tries them.
"""

from __future__ import annotations

from funtorch.onnx.writing import (
    convolutions,
    imported,
    indexing,
    nn,
    pointwise,
    primitives,
    quantize,
    random,
    recurrent,
    reductions,
    shapes,
)
from funtorch.onnx.writing.exportable import ExportableModule
from funtorch.onnx.writing.exporter import (
    OperatorExportTypes,
    TrainingMode,
    export,
)
from funtorch.onnx.writing.program import ONNXProgram
from funtorch.onnx.writing.table import OnnxExporterError, UnsupportedOps
from funtorch.onnx.writing.training import TrainingProgram, export_training_step
