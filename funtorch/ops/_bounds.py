"""Indices out of range, refused as PyTorch refuses them.

The values of an index that a program computes are on the device: looking at them would wait for it,
so they are not looked at. But indices made from a list, a NumPy array or by a DataLoader are still on
the host (`lowering.HostValue`), which looks at them once per buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funtorch.lowering import HostValue
from funtorch.ops import view_rules as rules
from funtorch.ops._signature import Signature
from funtorch.tensor import Tensor, size_of

Error = type[Exception]

IN_SELF = "index out of range in self"

_ALL_ELEMENTS = frozenset(
    (
        rules.reshape_view,
        rules.permute_view,
        rules.transpose_view,
        rules.t_view,
        rules.unsqueeze_view,
        rules.squeeze_view,
        rules.expand_view,
        rules.alias_view,
    )
)
"""Views that, unless they are empty, show every element of what they look at."""


class Index:
    """Declares which argument of an op is an index into `self`.

    dim: the name of the argument that says into which dimension, or the dimension itself (the last
    one of a tensor with fewer), or None for the flattened tensor; an argument that is a list of
    tensors indexes one dimension each. negative: do negative indices count from the end?
    ignored: the name of the argument with a value that is no index. error: the exception, or
    (number of dimensions, dimension) -> exception; message: with {bad}, {dim} and {extent}.
    """

    def __init__(
        self,
        argument: str,
        dim: str | int | None = "dim",
        error: Error | Callable[[int, int], Error] = IndexError,
        message: str = "index {bad} is out of bounds for dimension {dim} with size {extent}",
        negative: bool = False,
        ignored: str | None = None,
    ) -> None:
        self.argument = argument
        self.dim = dim
        self.error = error
        self.message = message
        self.negative = negative
        self.ignored = ignored

    def checker(self, signature: Signature) -> Callable[[Sequence[Any]], None]:
        """The check of a call: a function of its arguments, one per parameter of the op."""
        at = signature.index[self.argument]
        dim_at = signature.index[self.dim] if isinstance(self.dim, str) else None
        ignored_at = signature.index[self.ignored] if self.ignored else None

        def check(args: Sequence[Any]) -> None:
            given = args[at]
            if isinstance(given, Tensor):
                if type(given._storage.value) is HostValue:
                    dim = self.dim if dim_at is None else args[dim_at]
                    ignored = None if ignored_at is None else args[ignored_at]
                    self._check(given, size_of(args[0]), dim, ignored)
            elif given is not None:
                for dim, index in enumerate(given):
                    if index is not None and type(index._storage.value) is HostValue:
                        self._check(index, size_of(args[0]), dim, None)

        return check

    def _check(
        self, index: Tensor, shape: tuple[int, ...], dim: int | None, ignored: int | None
    ) -> None:
        if dim is None:
            extent, d = int(np.prod(shape)), 0
        else:
            d = min(dim, len(shape) - 1) if dim >= 0 else dim + len(shape)
            extent = shape[d] if shape else 1
        if index._storage.value.reach() < extent:
            return
        if 0 in size_of(index) or any(s.op not in _ALL_ELEMENTS for s in index._chain):
            return  # perhaps those that are out of range are not shown
        elements = index._storage.value.elements
        outside = (elements < (-extent if self.negative else 0)) | (elements >= extent)
        if ignored is not None:
            outside &= elements != ignored
        found = elements[outside]
        if found.size:
            error = self.error if isinstance(self.error, type) else self.error(len(shape), d)
            raise error(self.message.format(bad=found[0], dim=d, extent=extent))
