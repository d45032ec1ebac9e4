"""torch.finfo and torch.iinfo: the limits of number types."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from funtorch import dtypes


class finfo:  # noqa: N801  (PyTorch's name)
    """Limits of a floating-point type (of its parts, for a complex one)."""

    def __init__(self, type: dtypes.dtype | None = None) -> None:
        kind = dtypes.get_default_dtype() if type is None else type
        if not (kind.is_floating_point or kind.is_complex):
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle "
                f"'{kind!r}'"
            )
        kind = kind.to_real()
        facts: Any = ml_dtypes.finfo(kind.numpy)
        self.dtype = kind.name
        self.bits = kind.itemsize * 8
        self.eps = float(facts.eps)
        self.max = float(facts.max)
        self.min = float(facts.min)
        self.tiny = self.smallest_normal = float(facts.smallest_normal)
        # PyTorch's resolution is 10**-precision, with the digits that std::numeric_limits names.
        self.resolution = float(f"1e-{int((facts.nmant) * np.log10(2))}")

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={_short(self.resolution)}, min={_short(self.min)}, "
            f"max={_short(self.max)}, eps={_short(self.eps)}, "
            f"smallest_normal={_short(self.smallest_normal)}, tiny={_short(self.tiny)}, "
            f"dtype={self.dtype})"
        )


def _short(value: float) -> str:
    return f"{value:.6g}"


class iinfo:  # noqa: N801  (PyTorch's name)
    """Limits of an integer type."""

    def __init__(self, type: dtypes.dtype) -> None:
        if type.is_floating_point or type.is_complex:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle "
                f"'{type!r}'"
            )
        if type is dtypes.bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        facts = np.iinfo(type.stored if isinstance(type, dtypes.quantized_dtype) else type.numpy)
        self.dtype = type.name
        self.bits = int(facts.bits)
        self.min = int(facts.min)
        self.max = int(facts.max)

    def __repr__(self) -> str:
        return f"iinfo(min={_short(self.min)}, max={_short(self.max)}, dtype={self.dtype})"
