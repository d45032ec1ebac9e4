"""torch._higher_order_ops.associative_scan."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax

from funtorch._higher_order_ops._common import avals_of, captured, leaves_of, scan_dim
from funtorch.func.flow import Runner, nested
from funtorch.func.pure import aval_without, is_leaf, record_nested, tree
from funtorch.random_mode import randomness_within
from funtorch.tensor import Tensor


def associative_scan(
    combine_fn: Callable[..., Any],
    xs: Any,
    dim: int,
    reverse: bool = False,
    combine_mode: str = "pointwise",
) -> Any:
    """Running combinations of the slices of xs along `dim`: x0, f(x0, x1), f(f(x0, x1), x2) ...

    combine_fn is associative and is applied to many pairs at once. xs: a tensor, or tuples, lists and
    dicts of them. combine_mode: 'generic', or on GPUs 'pointwise'; they do the same here.

    Raises ValueError, IndexError or RuntimeError for wrong arguments, RuntimeError for results of
    another shape or type, AssertionError for results of another number.
    """
    tensors = leaves_of(xs)
    dim = _checked(combine_fn, tensors, dim, reverse, combine_mode)
    moved = [x.movedim(dim, 0) for x in tensors]
    structure = tree.tree_structure(xs, is_leaf=is_leaf)
    n = len(tensors)

    def flat(*given: Any) -> Any:
        sides = (tree.tree_unflatten(structure, part) for part in (given[:n], given[n:]))
        return combine_fn(*sides)

    avals = [aval_without(a, 0) for a in avals_of(moved)]
    with randomness_within("error"):
        body = captured("associative_scan", flat, (*avals, *avals), avals[0].place)
    _check_result(avals, body.avals())
    make = functools.partial(_scanned, n, reverse)
    outs = record_nested(
        "associative_scan", nested([body], make, reverse), [*moved, *body.closed_over]
    )
    return body.rebuilt([t.movedim(0, dim) for t in outs])


def _scanned(n: int, reverse: bool, runners: list[Runner]) -> Runner:
    def pure(arrays: Sequence[Any]) -> list[Any]:
        closed = arrays[n:]

        def combine(a: Any, b: Any) -> list[Any]:
            return jax.vmap(lambda x, y: runners[0]([*x, *y, *closed]))(a, b)  # type: ignore[no-any-return]

        return lax.associative_scan(combine, list(arrays[:n]), reverse)  # type: ignore[no-any-return]

    return pure


def _checked(combine_fn: Any, tensors: list[Any], dim: Any, reverse: Any, mode: Any) -> int:
    """The dimension, counted from the front."""
    if not callable(combine_fn):
        raise ValueError(f"Combine_fn must be a callable, but got {combine_fn}")
    if not isinstance(dim, int):
        raise ValueError(f"Dim must be an int, but got {type(dim)}")
    if not isinstance(reverse, bool):
        raise RuntimeError(f"Reverse must be a bool, but got {type(reverse)}")
    if mode not in ("pointwise", "generic"):
        raise ValueError(f"Combine_mode must either 'pointwise' or 'generic', but got {mode}")
    if not tensors:
        raise IndexError("Expected at least 1 xs leaf")
    if not all(isinstance(x, Tensor) for x in tensors):
        raise ValueError("xs leaves must be a Tensor")
    if mode == "pointwise" and not all(x.is_cuda for x in tensors):
        raise ValueError(
            "For combine_mode='pointwise', all input tensors need to be on CUDA or XPU"
        )
    return scan_dim(tensors, dim, ValueError)


def _check_result(wanted: Sequence[Any], found: Sequence[Any]) -> None:
    if len(wanted) != len(found):
        raise AssertionError(f"Combine_fn gives {len(found)} tensors for {len(wanted)}")
    for a, b in zip(wanted, found, strict=True):
        if tuple(a.shape) != tuple(b.shape) or a.dtype != b.dtype:
            raise RuntimeError(
                f"combine_fn makes {b!r} of {a!r}: shape and type must stay the same"
            )
