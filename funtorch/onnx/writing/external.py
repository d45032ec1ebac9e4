"""Writing files: through a name of their own until complete; weights beside the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx

from funtorch.onnx.writing.proto import element_type, tensor

_ALIGNMENT = 4096  # so that a reader may map each weight into memory
_INSIDE = 1024  # bytes below which a weight stays in the model: shapes need to be seen


def replaced(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file under another name and rename it when complete."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            write(file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save(model: onnx.ModelProto, weights: Mapping[str, Any], path: Path) -> None:
    """The model at `path`, weights of 1 KiB and more in `path` + '.data', written one by one."""
    beside = path.with_name(path.name + ".data")
    large = {n: a for n, a in weights.items() if a.nbytes >= _INSIDE}

    def write(file: BinaryIO) -> None:
        for name, array in weights.items():
            if name not in large:
                model.graph.initializer.append(tensor(name, array))
                continue
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            start = file.tell()
            _dump(np.ascontiguousarray(array), file)
            size = file.tell() - start
            model.graph.initializer.append(_reference(name, array, beside.name, start, size))

    if large:
        replaced(beside, write)
    else:
        model.graph.initializer.extend(tensor(n, a) for n, a in weights.items())
    replaced(path, lambda file: file.write(model.SerializeToString()))


def _dump(array: np.ndarray[Any, Any], file: BinaryIO) -> None:
    if array.dtype.itemsize == 1 and array.dtype.name.endswith(("int4", "int2", "e2m1fn")):
        file.write(tensor("", array).raw_data)  # two or four to a byte
    else:
        file.write(memoryview(array.reshape(-1).view(np.uint8)))


def _reference(name: str, array: Any, location: str, offset: int, length: int) -> onnx.TensorProto:
    made = onnx.TensorProto(name=name, data_type=element_type(array.dtype), dims=array.shape)
    made.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        made.external_data.add(key=key, value=str(value))
    return made
