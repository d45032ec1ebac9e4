"""torch._higher_order_ops.scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch._higher_order_ops._common import (
    UncapturedHigherOrderOpError,
    avals_of,
    captured,
    check_alike,
    leaves_of,
    scan_dim,
)
from funtorch.func.flow import Keyed, scanned
from funtorch.func.pure import aval_without, is_leaf, tree
from funtorch.tensor import Tensor


def scan(
    combine_fn: Callable[..., Any], init: Any, xs: Any, *, dim: int = 0, reverse: bool = False
) -> tuple[Any, Any]:
    """(last carry, stacked outputs) of `carry, out = combine_fn(carry, x)` over slices x of xs.

    init, xs: tensors, or tuples, lists and dicts of them; the carry keeps shapes and types. Outputs
    are stacked along `dim`. reverse: from the last slice to the first. Without xs: (init, []).

    Raises RuntimeError for wrong arguments and for sizes that differ along `dim`, and
    (UncapturedHigherOrderOpError) for functions that cannot be captured.
    """
    starts, slices = leaves_of(init), leaves_of(xs)
    if not slices:
        return init, []
    dim = _checked(combine_fn, starts, slices, dim, reverse)
    moved = [x.movedim(dim, 0) if dim else x for x in slices]
    place = avals_of(starts)[0].place
    structures = [tree.tree_structure(v, is_leaf=is_leaf) for v in (init, xs)]
    n = len(starts)

    def flat(*given: Any) -> Any:
        both = (given[:n], given[n:])
        return combine_fn(
            *(tree.tree_unflatten(s, g) for s, g in zip(structures, both, strict=True))
        )

    keyed = Keyed(flat)
    avals = [*avals_of(starts), *(aval_without(a, 0) for a in avals_of(moved))]
    body = keyed.plain(captured("scan", keyed, (Keyed.aval(place), *avals), place))
    _check_result(body.rebuilt(body.tensors)[1], structures[0])
    state = [*keyed.first(place), *starts]
    wanted = avals_of(state)
    check_alike("scan", "init and carry", wanted, body.avals()[: len(wanted)])
    carry, outs = body.rebuilt(scanned("scan", body, state, moved, reverse))[1]
    if dim:
        outs = tree.tree_map(
            lambda t: t.movedim(0, dim) if dim < t.ndim else t, outs, is_leaf=is_leaf
        )
    return carry, outs


def _checked(combine_fn: Any, starts: list[Any], slices: list[Any], dim: Any, reverse: Any) -> int:
    """The dimension, counted from the front."""
    if not callable(combine_fn):
        raise RuntimeError(f"Combine_fn must be a callable, but got {combine_fn}")
    if not isinstance(dim, int):
        raise RuntimeError(f"Dim must be an int, but got {type(dim)}")
    if not isinstance(reverse, bool):
        raise RuntimeError(f"Reverse must be a bool, but got {type(reverse)}")
    if not starts:
        raise RuntimeError("scan() operator requires init leaves.")
    for words, leaves in (("init", starts), ("xs", slices)):
        for leaf in leaves:
            if not isinstance(leaf, Tensor):
                raise RuntimeError(f"All {words} leaves must be a Tensor but got {leaf}")
    dim = scan_dim(slices, dim, RuntimeError)
    sizes = {x.shape[dim] for x in slices}
    if len(sizes) > 1:
        raise RuntimeError(
            f"All xs leaves must have the same size along dim, but got {sorted(sizes)}"
        )
    return dim


def _check_result(result: Any, structure: Any) -> None:
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise UncapturedHigherOrderOpError(
            "torch.scan: improper combine_fn number of returns: a pair (carry, output) is expected"
        )
    if tree.tree_structure(result[0]) != structure:
        raise UncapturedHigherOrderOpError(
            f"torch.scan: Expected init and carry to have the same structure but found {structure} and "
            f"{tree.tree_structure(result[0])}"
        )
