"""`torch.nested`: batches of tensors that differ in one extent, in the jagged layout.

A nested tensor keeps the rows of all its components in one strided tensor, `values()`, and where
they begin, `offsets()`. Elementwise functions and layers act on the rows; what goes along the ragged
dimension sums by segments, or pads. The strided layout of nested tensors is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch.dispatch import to_host
from funtorch.layouts import jagged, strided
from funtorch.nested import functions
from funtorch.nested.tensors import NestedTensor, Rows, from_components, nested
from funtorch.ops._declare import composite
from funtorch.ops.from_data import as_tensor
from funtorch.tensor import Tensor, device_of_tensor, from_host, size_of

__all__ = [
    "as_nested_tensor",
    "masked_select",
    "narrow",
    "nested_tensor",
    "nested_tensor_from_jagged",
    "to_padded_tensor",
]


def _only_jagged(layout: Any) -> None:
    if layout is None or layout is strided:
        raise NotImplementedError(
            "nested tensors of layout torch.strided are not there; use layout=torch.jagged"
        )
    if layout is not jagged:
        raise RuntimeError(f"Specified layout is unsupported for nested tensors: {layout!r}")


def nested_tensor(
    tensor_list: Sequence[Any],
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> NestedTensor:
    """A leaf with copies of these tensors (or lists of numbers), which differ in one extent at most."""
    _only_jagged(layout)
    parts = [as_tensor(part, dtype=dtype, device=device).detach() for part in tensor_list]
    made = from_components(parts)
    return made._with(made._inner.clone()).requires_grad_(requires_grad)


def as_nested_tensor(
    ts: Any, dtype: Any = None, device: Any = None, layout: Any = None
) -> NestedTensor:
    """These tensors (or the rows of one) as components, differentiable."""
    if isinstance(ts, NestedTensor):
        return ts.to(device=device, dtype=dtype)
    _only_jagged(layout)
    return from_components([as_tensor(part, dtype=dtype, device=device) for part in ts])


def nested_tensor_from_jagged(
    values: Tensor,
    offsets: Tensor | None = None,
    lengths: Tensor | None = None,
    jagged_dim: int | None = None,
    min_seqlen: int | None = None,
    max_seqlen: int | None = None,
) -> NestedTensor:
    """Rows that lie one after the other as components, differentiable.

    offsets: [count + 1], where they begin; lengths: [count], how long they are. With both there may
    be gaps, which are left out (reads them). jagged_dim: where the ragged dimension shall stand.
    """
    if offsets is None and lengths is None:
        raise RuntimeError(
            "nested_tensor_from_jagged(): At least one of offsets or lengths is required."
        )
    at = 1 if jagged_dim is None else jagged_dim
    inner = values.movedim(at - 1, 0) if at > 1 else values
    if offsets is None:
        assert lengths is not None
        counts = np.asarray(to_host(lengths)).tolist()
        return nested(inner, Rows.of_lengths(counts, device_of_tensor(values)), at)
    if lengths is None:
        return nested(inner, Rows.of(offsets, size_of(inner)[0]), at)
    starts = np.asarray(to_host(offsets))[: size_of(lengths)[0]]
    return _gathered(inner, starts, np.asarray(to_host(lengths)), at)


def _gathered(inner: Tensor, starts: Any, lengths: Any, at: int) -> NestedTensor:
    """Components that begin at `starts` among the rows: [total, *rest]"""
    rows = [np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)]
    where = device_of_tensor(inner)
    index = from_host(np.concatenate(rows).astype(np.int64), device=where)
    return nested(inner.index_select(0, index), Rows.of_lengths(lengths.tolist(), where), at)


def narrow(tensor: Tensor, dim: int, start: Any, length: Any, layout: Any = None) -> NestedTensor:
    """From each row of a strided tensor `length` entries from `start` on, numbers or [count] each."""
    _only_jagged(layout)
    if dim != 1:
        raise RuntimeError("jagged layout only supports dim=1")
    count, extent = size_of(tensor)[:2]
    first, many = (
        np.broadcast_to(to_host(x) if isinstance(x, Tensor) else x, (count,))
        for x in (start, length)
    )
    return _gathered(tensor.flatten(0, 1), first + np.arange(count) * extent, many, 1)


def masked_select(tensor: Tensor, mask: Tensor) -> NestedTensor:
    """From each row the elements where the mask holds: [count, n], [count, n] -> [count, ragged]"""
    chosen = np.asarray(to_host(mask.expand(size_of(tensor))))
    if chosen.ndim != 2:
        raise RuntimeError("masked_select: expected a tensor of two dimensions")
    rows = Rows.of_lengths(chosen.sum(1).tolist(), device_of_tensor(tensor))
    return nested(tensor.masked_select(mask), rows, 1)


def to_padded_tensor(input: NestedTensor, padding: float, output_size: Any = None) -> Tensor:
    """`input.to_padded_tensor(padding, output_size)`."""
    return input.to_padded_tensor(padding, output_size)


@composite("method", name="to_padded_tensor", function=False)
def _to_padded_tensor(self: Tensor, padding: float, output_size: Any = None) -> Tensor:
    """Of nested tensors: components side by side, filled up to one length."""
    raise NotImplementedError("to_padded_tensor: expected a nested tensor, got a strided one")


functions.enter()
