"""Putting samples together to a batch."""

from __future__ import annotations

import collections.abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.dispatch import to_host
from funtorch.lowering import aligned
from funtorch.ops.from_data import as_tensor, tensor
from funtorch.ops.joining import stack
from funtorch.tensor import Tensor, from_host, size_of


def default_convert(data: Any) -> Any:
    """NumPy arrays in nested data as tensors."""
    if isinstance(data, Tensor | str | bytes):
        return data
    if isinstance(data, np.ndarray | np.generic):
        return data if np.asarray(data).dtype.kind in "USO" else as_tensor(data)
    return _mapped(data, default_convert)


def _mapped(data: Any, function: Any) -> Any:
    if isinstance(data, collections.abc.Mapping):
        return {k: function(v) for k, v in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(function(v) for v in data))
    if isinstance(data, tuple):
        return [function(v) for v in data]
    if isinstance(data, collections.abc.Sequence):
        return [function(v) for v in data]
    return data


def _stacked(batch: Sequence[Tensor]) -> Tensor:
    """Tensors joined along a new first dimension: on the host, if nothing is pending."""
    first = batch[0]
    if any(size_of(t) != size_of(first) for t in batch):
        raise RuntimeError(
            "stack expects each tensor to be equal size, but got "
            f"{[list(size_of(t)) for t in batch[:4]]}"
        )
    if any(t.requires_grad for t in batch):
        return stack(list(batch))
    return _joined([to_host(t) for t in batch], first.device)


def _joined(arrays: Sequence[np.ndarray[Any, Any]], where: Any = None) -> Tensor:
    """Arrays of one shape and dtype as a batch, copied once."""
    first = arrays[0]
    if any(a.dtype != first.dtype for a in arrays):
        return from_host(np.stack(arrays), device=where)
    memory = aligned((len(arrays), *first.shape), first.dtype)
    return from_host(np.stack(arrays, out=memory), device=where, owned=True)


def _of_numbers(batch: Sequence[Any]) -> Tensor:
    found = np.array(batch)
    if found.dtype.kind in "bi" and found.ndim == 1:
        return from_host(found, owned=True)
    return tensor(list(batch))


def default_collate(batch: Sequence[Any]) -> Any:
    """A list of samples as one: tensors stacked, numbers as tensors, structures kept."""
    first = batch[0]
    if isinstance(first, Tensor):
        return _stacked(batch)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "USO":
            raise TypeError(_unknown(first.dtype))
        return _joined(batch)
    if isinstance(first, np.generic):
        return from_host(np.array(batch), owned=True)
    if isinstance(first, float):
        return tensor(list(batch), dtype=dtypes.float64)
    if isinstance(first, bool | int):
        return _of_numbers(batch)
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, collections.abc.Mapping):
        return {key: default_collate([d[key] for d in batch]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(list(s)) for s in zip(*batch, strict=True)))
    if isinstance(first, collections.abc.Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [default_collate(list(samples)) for samples in zip(*batch, strict=True)]
    raise TypeError(_unknown(type(first)))


def _unknown(kind: Any) -> str:
    return (
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
        f"{kind}"
    )
