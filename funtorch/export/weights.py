"""Named arrays in the safetensors format, written and read without pickle and without a copy."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, Any]

_KINDS: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
    "C128": np.complex128,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
_NAMES = {np.dtype(kind): name for name, kind in _KINDS.items()}
_ALIGNMENT = 64


def to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """A safetensors file; the data begins at a multiple of 64 bytes."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    at = 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        kind = _NAMES[array.dtype]
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def from_bytes(data: bytes) -> dict[str, Array]:
    """Name -> array (read-only, sharing `data`). Raises ValueError for a damaged file."""
    if len(data) < 8:
        raise ValueError("the weights are cut short")
    (size,) = struct.unpack_from("<Q", data)
    if size > len(data) - 8:
        raise ValueError("the weights' header is cut short")
    body = memoryview(data)[8 + size :]
    arrays: dict[str, Array] = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        kind = np.dtype(_KINDS[entry["dtype"]])
        if not 0 <= first <= last <= len(body):
            raise ValueError(f"the weights of {name!r} lie outside of the file")
        arrays[name] = np.frombuffer(body[first:last], kind).reshape(entry["shape"])
    return arrays
