"""torch._higher_order_ops.map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch._higher_order_ops._common import (
    UncapturedHigherOrderOpError,
    avals_of,
    captured,
    leaves_of,
)
from funtorch.func.flow import Keyed, scanned
from funtorch.func.pure import aval_without, is_leaf, tree
from funtorch.tensor import Tensor


def map(f: Callable[..., Any], xs: Any, *args: Any) -> Any:  # noqa: A001  (PyTorch's name)
    """Results of `f(x, *args)` for the slices x of xs along dimension 0, stacked there.

    xs: tensors, or tuples, lists and dicts of them, of the same size > 0 in dimension 0.
    Raises RuntimeError for others, and (UncapturedHigherOrderOpError) for a function whose result
    is not made of tensors or that cannot be captured.
    """
    tensors = leaves_of(xs)
    if not all(isinstance(t, Tensor) for t in tensors):
        raise RuntimeError(f"Mapped xs can only consist of tensors. Got xs {tensors}.")
    shapes = [t.shape for t in tensors]
    if shapes[0][0] == 0:
        raise RuntimeError("Leading dimensions of mapped xs cannot be 0.")
    if any(shape[0] != shapes[0][0] for shape in shapes):
        raise RuntimeError(
            f"Leading dimensions of mapped xs must be consistent. Got shapes {shapes}."
        )
    place = avals_of(tensors)[0].place
    structure = tree.tree_structure(xs, is_leaf=is_leaf)
    keyed = Keyed(lambda *given: f(tree.tree_unflatten(structure, given), *args))
    avals = [aval_without(a, 0) for a in avals_of(tensors)]
    body = keyed.plain(captured("map", keyed, (Keyed.aval(place), *avals), place))
    if len(body.tensors) != len(body.leaves):
        raise UncapturedHigherOrderOpError("torch.map: non torch.Tensor leaf in the result")
    return body.rebuilt(scanned("map", body, keyed.first(place), tensors))[1]
