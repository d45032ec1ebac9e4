"""What captured functions may not do, and how that is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.dispatch import read
from funtorch.func.flow import Part, part
from funtorch.func.pure import is_leaf, tree
from funtorch.grad_mode import is_grad_enabled
from funtorch.lowering import Aval
from funtorch.tensor import Tensor


class UncapturedHigherOrderOpError(RuntimeError):
    """A function given to a control flow op cannot be captured as a whole."""


def leaves_of(values: Any) -> list[Any]:
    """Leaves of nested tuples, lists and dicts; dicts in the order of their sorted keys."""
    return tree.tree_leaves(values, is_leaf=is_leaf)


def captured(
    name: str,
    function: Callable[..., Any],
    values: tuple[Any, ...],
    place: Any,
    writes: bool = False,
) -> Part:
    """Capture a function of the op `name`, given tensors or their avals.

    writes: may it change its arguments where no gradients are recorded?

    Raises UncapturedHigherOrderOpError where its result shares memory with its arguments or twice
    with itself, or where it changes arguments that it may not change.
    """

    def check(inputs: Sequence[Tensor], result: Any) -> None:
        seen = {id(t._storage) for t in inputs}
        for out in leaves_of(result):
            if isinstance(out, Tensor):
                if id(out._storage) in seen and not (writes and not is_grad_enabled()):
                    raise UncapturedHigherOrderOpError(
                        f"Encountered aliasing during higher order op tracing: torch.{name}'s function "
                        "returns an argument, a view of one, or the same tensor twice; clone() it"
                    )
                seen.add(id(out._storage))

    found = part(function, values, place, f"torch.{name}'s function", check)
    if found.written and (is_grad_enabled() or not writes):
        raise UncapturedHigherOrderOpError(
            f"Encountered input mutation during higher order op tracing: torch.{name}'s function "
            "changes an argument in place; clone() it first"
        )
    return found


def check_alike(name: str, what: str, wanted: Sequence[Aval], found: Sequence[Aval]) -> None:
    """Raise where tensors do not have the shapes and types that they must have."""
    if len(wanted) != len(found):
        raise UncapturedHigherOrderOpError(
            f"torch.{name}: Expected {what} to have same number of outputs but got {len(wanted)} "
            f"and {len(found)}"
        )
    for i, (a, b) in enumerate(zip(wanted, found, strict=True)):
        if tuple(a.shape) != tuple(b.shape) or a.dtype != b.dtype:
            raise UncapturedHigherOrderOpError(
                f"torch.{name}: Expected {what} to have same metadata but found: pair[{i}] differ: "
                f"{a!r} vs {b!r}"
            )


def scan_dim(tensors: Sequence[Tensor], dim: int, error: type[Exception]) -> int:
    """The dimension to scan along, from the front. Raises IndexError, or `error` where one lacks it."""
    rank = tensors[0].ndim
    if not -rank <= dim < rank:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})"
        )
    dim %= rank
    if any(x.ndim <= dim or x.shape[dim] == 0 for x in tensors):
        raise error(
            "All xs leaves must at least have 'dim' number of dimensions and scan dimension > 0"
        )
    return dim


def avals_of(tensors: Sequence[Tensor]) -> list[Aval]:
    """Shapes and types."""
    return [read(t).aval for t in tensors]
