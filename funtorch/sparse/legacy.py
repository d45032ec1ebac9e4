"""`torch.sparse.FloatTensor` and its kin: constructors of COO tensors of one dtype."""

from __future__ import annotations

from typing import Any

from funtorch import dtypes
from funtorch.sparse.coo import CooTensor
from funtorch.sparse.making import sparse_coo_tensor
from funtorch.storage import ELEMENT_TYPES
from funtorch.tensor import Tensor, dtype_of

_NAMES = ("Double", "Float", "Half", "BFloat16", "Byte", "Char", "Int", "Long", "Short")


class _SparseType(type):
    dtype: dtypes.dtype

    def __call__(cls, *args: Any) -> CooTensor:
        """From indices, values and a size, or from a size alone."""
        if args and isinstance(args[0], Tensor):
            return sparse_coo_tensor(*args, dtype=cls.dtype)
        return sparse_coo_tensor(args[0] if len(args) == 1 else args or (0,), dtype=cls.dtype)

    def __instancecheck__(cls, obj: Any) -> bool:
        return isinstance(obj, CooTensor) and dtype_of(obj) is cls.dtype

    def __repr__(cls) -> str:
        return f"<class 'torch.sparse.{cls.__name__}'>"


def sparse_types() -> dict[str, Any]:
    """The constructors by name."""
    return {
        f"{short}Tensor": _SparseType(
            f"{short}Tensor", (), {"dtype": dtypes.by_name(name), "__module__": "torch.sparse"}
        )
        for name, short in ELEMENT_TYPES.items()
        if short in _NAMES
    }
