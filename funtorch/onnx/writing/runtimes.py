"""Running a written model: in onnxruntime where it can, else in onnx's reference evaluator."""

from __future__ import annotations

import ctypes
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Array = np.ndarray[Any, Any]
Runner = Callable[[Mapping[str, Array]], list[Array]]
INSIDE = 500_000_000  # bytes of weights above which a model is handed over as files


def runner(program: Any) -> Runner:
    """A function from inputs by name to outputs in order."""
    try:
        import onnxruntime
    except ImportError:
        return by_reference(program)
    try:
        return _session(onnxruntime, program)
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        return by_reference(program)  # a type for which onnxruntime has no kernel


def typed(arrays: Sequence[Array], values: Sequence[Any]) -> list[Array]:
    """Results under the dtypes they have: onnxruntime hands out bfloat16 as bits."""
    return [
        a if v.dtype is None or a.dtype == v.dtype else np.asarray(a).view(v.dtype)
        for a, v in zip(arrays, values, strict=True)
    ]


def _session(onnxruntime: Any, program: Any) -> Runner:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Initialisers in several types are shared by name only, and nothing here is run often enough
    # for the costly optimisations.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    providers = ["CPUExecutionProvider"]
    if program.nbytes <= INSIDE:
        data = program.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(data, options, providers=providers)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            program.save(path, external_data=True)
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    kinds = [str(o.type) for o in session.get_outputs()]
    unread = any(f"({name}" in kind for kind in kinds for name in _UNREAD)

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        inputs = (*session.get_inputs(), *session.get_overridable_initializers())
        wanted = {i.name for i in inputs}
        given = {n: a for n, a in feeds.items() if n in wanted}
        if unread or any(_foreign(getattr(a, "dtype", object)) for a in given.values()):
            return _with_values(onnxruntime, session, given)
        return list(session.run(None, given))

    return run


def _foreign(dtype: Any) -> bool:
    return np.dtype(dtype).kind == "V" or np.dtype(dtype).name.startswith("float8")


_UNREAD = ("bfloat16", "float8", "int4", "uint4", "int2", "uint2")  # not handed out as arrays


def _with_values(onnxruntime: Any, session: Any, feeds: Mapping[str, Array]) -> list[Array]:
    """Inputs and outputs of types that NumPy does not know by itself."""
    from onnxruntime import OrtValue

    made = {
        n: OrtValue.ortvalue_from_numpy_with_onnx_type(
            np.ascontiguousarray(a), int(onnx.helper.np_dtype_to_tensor_dtype(a.dtype))
        )
        if _foreign(a.dtype)
        else OrtValue.ortvalue_from_numpy(np.ascontiguousarray(a))
        for n, a in feeds.items()
    }
    names = [o.name for o in session.get_outputs()]
    return [_array(o) for o in session.run_with_ort_values(names, made)]


def _array(value: Any) -> Array:
    """An output, by its bytes where onnxruntime has no array for them."""
    kind, shape = value.element_type(), value.shape()
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    if not any(dtype.name.startswith(name) for name in _UNREAD):
        return np.asarray(value.numpy())
    bits = 8 * dtype.itemsize if dtype.itemsize > 1 or "8" in dtype.name else int(dtype.name[-1])
    data = ctypes.string_at(value.data_ptr(), (math.prod(shape) * bits + 7) // 8)
    return numpy_helper.to_array(onnx.TensorProto(data_type=kind, dims=shape, raw_data=data))


def by_reference(program: Any) -> Runner:
    """onnx's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(program.model_proto)
    return lambda feeds: list(evaluator.run(None, dict(feeds)))
