"""The text of sparse tensors, as PyTorch writes it."""

from __future__ import annotations

from typing import Any

from funtorch import dtypes
from funtorch.dispatch import to_host
from funtorch.layouts import sparse_coo
from funtorch.printing import render_parts
from funtorch.tensor import Tensor, device_of_tensor, dtype_of, size_of


def text_of_parts(tensor: Any, parts: dict[str, Tensor]) -> str:
    """A sparse tensor by the names and contents of its parts."""
    where, kind = device_of_tensor(tensor), dtype_of(tensor)
    default = dtypes.get_default_dtype()
    notes = [] if where.type == "cpu" else [f"device='{where}'"]
    notes += [f"size={tuple(size_of(tensor))}", f"nnz={tensor._nnz()}"]
    if kind not in (default, default.to_complex(), dtypes.int64, dtypes.bool_):
        notes.append(f"dtype={kind!r}")
    notes.append(f"layout={tensor._kind!r}")
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    shown = [(name, to_host(part)) for name, part in parts.items()]
    return render_parts("tensor(", shown, notes, tensor._kind is sparse_coo)
