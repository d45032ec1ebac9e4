"""torch.cond."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from funtorch._higher_order_ops._common import (
    UncapturedHigherOrderOpError,
    captured,
    check_alike,
    leaves_of,
)
from funtorch.compiler.state import is_exporting
from funtorch.device import device_of
from funtorch.dispatch import read
from funtorch.func.flow import conditional
from funtorch.func.pure import is_leaf, tree
from funtorch.ops.from_data import tensor
from funtorch.tensor import Tensor


def cond(
    pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()
) -> Any:
    """`true_fn(*operands)` if pred holds, else `false_fn(*operands)`, both captured.

    pred: a tensor of one element, or a number, of which Python knows the branch. Results are nested
    tuples, lists and dicts of tensors of the same shapes and types; whole numbers become tensors.
    Functions may read tensors from outside. Without gradients they may change operands in place.

    Raises RuntimeError for wrong arguments, and (UncapturedHigherOrderOpError) for branches that
    differ or share memory with operands.
    """
    if isinstance(pred, bool | int | float):
        if is_exporting():
            warnings.warn(
                "Pred is a Python constant. When used with torch.cond, it specializes on one of the "
                "branches. If you want torch.cond to preserve two branches, please make the "
                "predicate a boolean tensor or a SymBool.",
                UserWarning,
                stacklevel=2,
            )
        return true_fn(*operands) if pred else false_fn(*operands)
    _check(pred, true_fn, false_fn, operands)
    place = read(pred).aval.place
    sides = [_numbers_as_tensors(f, place) for f in (true_fn, false_fn)]
    one, two = (captured("cond", f, tuple(operands), place, True) for f in sides)
    if one.structure != two.structure:
        raise UncapturedHigherOrderOpError(
            f"torch.cond: the branches return different structures: {one.structure} and {two.structure}"
        )
    check_alike("cond", "the branches' results", one.avals(), two.avals())
    return one.rebuilt(conditional("cond", pred, leaves_of(operands), one, two))


def _check(pred: Any, true_fn: Any, false_fn: Any, operands: Any) -> None:
    if not isinstance(pred, Tensor):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    if pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, tuple | list) or not all(
        isinstance(t, Tensor) for t in leaves_of(operands)
    ):
        raise RuntimeError(
            "Expect operands to be a tuple of possibly nested dict/list/tuple that only "
            f"consists of tensor leaves, but got {operands}."
        )


def _numbers_as_tensors(function: Callable[..., Any], place: Any) -> Callable[..., Any]:
    """The branch with whole numbers as tensors: they may depend on the condition."""

    def run(*args: Any) -> Any:
        return tree.tree_map(as_tensor, function(*args), is_leaf=lambda x: x is None or is_leaf(x))

    def as_tensor(x: Any) -> Any:
        if type(x) is int:
            return tensor(x, device=device_of(place))
        if not isinstance(x, Tensor):
            raise UncapturedHigherOrderOpError(
                f"torch.cond: unsupported branch return type: {type(x).__name__}; return tensors or "
                "whole numbers"
            )
        return x

    return run
