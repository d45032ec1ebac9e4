"""What a call looks like from outside: what tells calls apart, and whose memory results are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from funtorch import dtypes
from funtorch.compiler.closed import OpenError
from funtorch.dispatch import dense_like, read
from funtorch.nn.parameter import Parameter
from funtorch.tensor import Tensor

_TENSORS = (Tensor, Parameter)
_PLAIN = (bool, int, float, complex, str, type(None), dtypes.dtype)


def call_key(node: Any, tensors: list[Tensor]) -> Any:
    """What distinguishes calls; tensors are appended. TypeError for what cannot be told apart."""
    kind = type(node)
    if kind in _TENSORS:
        tensors.append(node)
        return read(node).aval, node._stride, node._requires, kind
    if kind in _PLAIN:
        return kind, node
    if kind in (list, tuple):
        return (kind, *[call_key(x, tensors) for x in node])
    if kind is dict:
        return (kind, *[(k, call_key(x, tensors)) for k, x in node.items()])
    raise TypeError(f"{kind.__name__} among the arguments")


def refuse_shared(outs: Sequence[Tensor], others: Iterable[Tensor]) -> None:
    """Raise OpenError if results share memory with each other or with other tensors.

    A view of all of a tensor that nobody else sees is like a tensor with these strides.
    """
    known = {id(t._storage) for t in others}
    for out in outs:
        if id(out._storage) in known:
            raise OpenError("a result shares memory")
        known.add(id(out._storage))
        if out._chain and not _whole(out):
            raise OpenError("a result is part of a tensor")


def _whole(view: Tensor) -> bool:
    shape, stride = read(view).aval.shape, view._stride
    if view._offset or math.prod(shape) != view._storage.value.aval.size:
        return False
    return stride is None or dense_like(shape, stride) == stride
