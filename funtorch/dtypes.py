"""dtypes: PyTorch's names on NumPy's (and ml_dtypes') types, and the rules of type promotion."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["dtype", "get_default_dtype", "iter_dtypes", "of", "set_default_dtype"]


class dtype:  # noqa: N801  (PyTorch's name)
    """The type of a tensor's elements. Each exists once, so `is` and `==` agree."""

    __slots__ = ("_name", "category", "is_complex", "is_floating_point", "itemsize", "numpy")

    def __init__(self, name: str, numpy_type: Any, category: int) -> None:
        self._name = name
        self.numpy = np.dtype(numpy_type)
        self.itemsize = self.numpy.itemsize
        self.category = category  # 0 bool, 1 integer, 2 float, 3 complex
        self.is_floating_point = category == 2
        self.is_complex = category == 3

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self) -> Any:
        return (by_name, (self._name,))

    @property
    def name(self) -> str:
        """The bare name, for example 'float32'."""
        return self._name

    @property
    def is_signed(self) -> bool:
        """False for bool and unsigned integers."""
        return self.category >= 2 or self.numpy.name.startswith("int")

    def to_complex(self) -> dtype:
        """The complex type whose parts are of this type."""
        return (
            {"float16": complex64, "float64": complex128}.get(self._name, complex64)
            if (not self.is_complex)
            else self
        )

    def to_real(self) -> dtype:
        """The type of the parts of a complex type."""
        return {"complex64": float32, "complex128": float64}.get(self._name, self)


class quantized_dtype(dtype):  # noqa: N801
    """A type of quantised tensors (`quantized.py`), which NumPy and XLA know nothing of.

    stored: the integers that such a tensor holds. Asking for `numpy` raises TypeError.
    """

    __slots__ = ("stored",)

    def __init__(self, name: str, stored: Any) -> None:
        self._name = name
        self.stored = np.dtype(stored)
        self.itemsize = self.stored.itemsize
        self.category = 1
        self.is_floating_point = self.is_complex = False

    def __getattr__(self, name: str) -> Any:
        if name == "numpy":
            raise TypeError(f"tensors of type {self!r} come from quantize_per_tensor and its kin")
        raise AttributeError(name)


bool_ = dtype("bool", np.bool_, 0)
uint8 = dtype("uint8", np.uint8, 1)
uint16 = dtype("uint16", np.uint16, 1)
uint32 = dtype("uint32", np.uint32, 1)
uint64 = dtype("uint64", np.uint64, 1)
int8 = dtype("int8", np.int8, 1)
int16 = dtype("int16", np.int16, 1)
int32 = dtype("int32", np.int32, 1)
int64 = dtype("int64", np.int64, 1)
int4 = dtype("int4", ml_dtypes.int4, 1)
uint4 = dtype("uint4", ml_dtypes.uint4, 1)
int2 = dtype("int2", ml_dtypes.int2, 1)
uint2 = dtype("uint2", ml_dtypes.uint2, 1)
float16 = dtype("float16", np.float16, 2)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, 2)
float32 = dtype("float32", np.float32, 2)
float64 = dtype("float64", np.float64, 2)
complex64 = dtype("complex64", np.complex64, 3)
complex128 = dtype("complex128", np.complex128, 3)
float8_e4m3fn = dtype("float8_e4m3fn", ml_dtypes.float8_e4m3fn, 2)
float8_e5m2 = dtype("float8_e5m2", ml_dtypes.float8_e5m2, 2)
float8_e4m3fnuz = dtype("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, 2)
float8_e5m2fnuz = dtype("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, 2)
float8_e8m0fnu = dtype("float8_e8m0fnu", ml_dtypes.float8_e8m0fnu, 2)

_all = [value for value in list(globals().values()) if isinstance(value, dtype)]
# Of four bits PyTorch has pairs only; ONNX has single ones.
_float4 = dtype("float4_e2m1fn", ml_dtypes.float4_e2m1fn, 2)
_of = {d.numpy: d for d in (*_all, _float4)}
QUANTIZED = [
    quantized_dtype(name, stored)
    for name, stored in (
        ("qint8", np.int8),
        ("quint8", np.uint8),
        ("qint32", np.int32),
        ("quint4x2", np.uint8),
        ("quint2x4", np.uint8),
    )
]
_named = {d.name: d for d in (*_all, *QUANTIZED)}
_by_name = {**_named, _float4.name: _float4}

ALIASES = {
    "bool": bool_,
    "half": float16,
    "float": float32,
    "double": float64,
    "cfloat": complex64,
    "cdouble": complex128,
    "short": int16,
    "int": int32,
    "long": int64,
}


def iter_dtypes() -> dict[str, dtype]:
    """All public names, aliases too."""
    return {**_named, **ALIASES}


def by_name(name: str) -> dtype:
    """The dtype called `name` (used by pickle)."""
    return _by_name[name]


def of(numpy_dtype: Any) -> dtype:
    """The dtype for a NumPy (or ml_dtypes) type. Raises TypeError for types PyTorch lacks."""
    found = _of.get(numpy_dtype)
    if found is None:
        found = _of.get(np.dtype(numpy_dtype))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {numpy_dtype}. The only supported types are: "
            "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, "
            "uint64, uint32, uint16, uint8, and bool."
        )
    return found


_default = float32


def get_default_dtype() -> dtype:
    """The dtype of floating-point tensors that name none."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the default floating-point dtype. Raises TypeError for other kinds of types."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d!r}")
    _default = d


# Promotion ----------------------------------------------------------------------------------

_SIGNED = [int8, int16, int32, int64]
_UNSIGNED = [uint8, uint16, uint32, uint64]


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type that holds both, as PyTorch counts (no value is looked at)."""
    if a is b:
        return a
    if a.category < b.category:
        a, b = b, a
    if a.category == b.category:
        return _promote_within(a, b)
    if a.is_complex and b.is_floating_point and b is float64:
        return complex128
    return a


def _promote_within(a: dtype, b: dtype) -> dtype:
    if a.is_complex:
        return complex128
    if a.is_floating_point:
        if "float8" in a.name or "float8" in b.name:
            raise RuntimeError(
                f"Promotion for Float8 Types is not supported, attempted to "
                f"promote {a.name} and {b.name}"
            )
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if a.itemsize > b.itemsize else b
    if a.is_signed == b.is_signed:
        return a if a.itemsize > b.itemsize else b
    signed, unsigned = (a, b) if a.is_signed else (b, a)
    if unsigned is not uint8:
        raise RuntimeError(
            f"Promotion for uint16, uint32, uint64 types is not supported, "
            f"attempted to promote {a.name} and {b.name}"
        )
    return signed if signed is not int8 else int16


def of_scalar(value: Any) -> dtype:
    """The dtype that a Python number counts as."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return int64
    if isinstance(value, complex):
        return complex128 if _default is float64 else complex64
    return _default


def can_cast(from_: dtype, to: dtype) -> bool:
    """May an in-place or out= result of type `from_` be written to `to`? (By category.)"""
    return from_.category <= to.category
