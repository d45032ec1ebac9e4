"""ONNX inside artifacts: `onnx/<program>.onnx`, whose weights are those of the artifact.

The initialisers that are the artifact's own arrays are left out and found by their names when a session
is made, so that they are stored once.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from funtorch.export import ExportedProgram
from funtorch.export.artifact import Artifact, read, write
from funtorch.onnx.writing import ONNXProgram, export

PLACE = "weights.safetensors"


def add_onnx(program: ExportedProgram, file: Any, **options: Any) -> None:
    """Write `program` as ONNX into the artifact that `torch.export.save(program, file)` wrote.

    options: those of torch.onnx.export, such as opset_version. Raises UnsupportedOps.
    """
    found = read(file)
    put_into(found, export(program, **{"verify": False, **options}))
    write(found, file)


def put_into(found: Artifact, program: ONNXProgram) -> None:
    """`add_onnx` on an artifact in memory."""
    model = program.model_proto
    for tensor in model.graph.initializer:
        own = found.arrays.get(tensor.name)
        if own is None or not _equal(tensor, own):
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=PLACE)
    found.programs["forward"].onnx = model.SerializeToString()


def _equal(tensor: Any, array: np.ndarray[Any, Any]) -> bool:
    return tensor.HasField("raw_data") and bytes(tensor.raw_data) == array.tobytes()


def session(data: bytes, arrays: Mapping[str, np.ndarray[Any, Any]] | None = None) -> Any:
    """An onnxruntime.InferenceSession on the CPU. arrays: for initialisers that were left out.

    Raises ImportError that says what to install.
    """
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    names = [
        tensor.name
        for tensor in (onnx.load_from_string(data).graph.initializer if arrays else ())
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    if arrays and names:
        values = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(arrays[n])) for n in names]
        options.add_external_initializers(names, values)
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def runtime() -> Any:
    """The module onnxruntime. Raises ImportError that says what to install."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            "torch.compile(backend='onnxruntime') needs onnxruntime: "
            "pip install 'funtorch[onnx-tools]'"
        ) from error
