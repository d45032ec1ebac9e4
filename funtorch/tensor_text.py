"""The text of a tensor: what `repr(t)`, `print(t)` and an f-string show."""

from __future__ import annotations

from typing import Any

from funtorch import dtypes
from funtorch.dispatch import read, to_host
from funtorch.lowering import META
from funtorch.printing import Facts, render
from funtorch.tensor import Tensor, device_of_tensor, dtype_of, size_of


def text_of(tensor: Tensor, prefix: str | None = None) -> str:
    """PyTorch's text for a tensor. prefix None: 'tensor(', or the name of a subclass."""
    read(tensor)
    kind = dtype_of(tensor)
    default = dtypes.get_default_dtype()
    usual = kind in (default, default.to_complex(), dtypes.int64, dtypes.bool_)
    where = device_of_tensor(tensor)
    if prefix is None:
        prefix = "tensor(" if type(tensor) is Tensor else f"{type(tensor).__name__}("
    facts = Facts(
        shape=tuple(size_of(tensor)),
        dtype=repr(kind),
        usual=usual,
        default=kind is default,
        device=None if where.type == "cpu" else str(where),
        tail=_tail(tensor),
        prefix=prefix,
    )
    meta = tensor._value.aval.place is META
    return render(None if meta else to_host(tensor), facts)


def _tail(tensor: Tensor) -> str | None:
    node: Any = tensor._node
    if node is not None and tensor._requires:
        return f"grad_fn=<{type(node).__name__}>"
    return "requires_grad=True" if tensor._requires else None
