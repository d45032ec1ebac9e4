"""Memory orders of results that are not elementwise (`order=` of a declaration).

Strides are all that these decide. A contiguous input, the common case, leaves at the first line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch.dispatch import iteration_order
from funtorch.ops._declare import Order
from funtorch.tensor import Tensor, size_of


def by_channels(*ranks: int, inputs: int = 1) -> Order:
    """Channels innermost if one of the first `inputs` arguments, of one of these ranks, has them so."""

    def order(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
        for tensor in args[:inputs]:
            if tensor._stride is None or ndim not in ranks:
                continue
            if len(size_of(tensor)) == ndim and _channels_innermost(tensor):
                return (0, *range(2, ndim), 1)
        return None

    return order


def _channels_innermost(tensor: Tensor) -> bool:
    """Is it PyTorch's channels_last (with one spatial dimension: as if there were two)?"""
    shape, stride = size_of(tensor), tensor._stride
    assert stride is not None
    least = 0
    for d in (1, *range(len(shape) - 1, 1, -1), 0):
        if not shape[d] or stride[d] < least or (d == 0 and least == stride[1]):
            return False
        least = stride[d] * shape[d]
    return stride[1] != 0


def like_input(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
    """The order of the first argument's dimensions."""
    stride = args[0]._stride
    if stride is None or len(stride) != ndim:
        return None
    return sorted(range(ndim), key=lambda d: (-stride[d], d))


def gathered(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
    """The order of `x[indices]`: PyTorch's TensorIterator over the input and the index tensors.

    Dimensions are sorted by insertion, a pair by the first operand that has no zero stride there.
    The input has stride zero where it is indexed.
    """
    self, indices = args[:2]
    if self._stride is None:
        return None
    at = [d for d, index in enumerate(indices) if index is not None]
    rest = [d for d in range(len(self._stride)) if d not in at]
    depth = ndim - len(rest)
    adjacent = at[-1] - at[0] == len(at) - 1
    before = at[0] if adjacent else 0
    from_input = [self._stride[d] for d in rest]
    from_input[before:before] = [0] * depth
    from_index = [0] * ndim
    from_index[before : before + depth] = range(depth, 0, -1)
    shape = size_of(self)
    counted = [shape[d] for d in rest]
    counted[before:before] = [0] * depth
    return iteration_order(counted, (from_input, from_index))
