"""What the methods of sparse tensors do on strided ones: mostly refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch.composed import Composed
from funtorch.methods import METHODS
from funtorch.tensor import Tensor

_EXPECTED = {
    "coalesce": "coordinate tensor layout",
    "is_coalesced": "coordinate tensor layout",
    "indices": "coordinate tensor layout",
    "values": "tensor layout",
    "crow_indices": "row compressed tensor layout",
    "col_indices": "row compressed tensor layout",
    "ccol_indices": "column compressed tensor layout",
    "row_indices": "column compressed tensor layout",
}


def _refused(name: str, expected: str) -> Callable[..., Any]:
    def method(self: Tensor) -> Any:
        title = self._kind.title if isinstance(self, Composed) else "Strided"
        raise RuntimeError(f"{name} expected sparse {expected} but got {title}")

    method.__name__ = name
    method.__doc__ = f"Of sparse tensors: expects a sparse {expected}."
    return method


def _absent(name: str) -> Callable[..., Any]:
    def method(self: Tensor) -> Any:
        raise NotImplementedError(
            f"Could not run 'aten::{name}' with arguments from the 'CPU' backend: it takes sparse "
            "tensors"
        )

    method.__name__ = name
    method.__doc__ = "Of sparse tensors."
    return method


def _sparse_dim(self: Tensor) -> int:
    """Zero: no dimension is sparse."""
    return 0


def _dense_dim(self: Tensor) -> int:
    """All dimensions are dense."""
    return self._value.aval.ndim


def bind() -> None:
    """Enter them among the methods of Tensor."""
    for name, expected in _EXPECTED.items():
        METHODS[name] = _refused(name, expected)
    for name in ("_indices", "_values", "_nnz"):
        METHODS[name] = _absent(name)
    METHODS["sparse_dim"] = _sparse_dim
    METHODS["dense_dim"] = _dense_dim
