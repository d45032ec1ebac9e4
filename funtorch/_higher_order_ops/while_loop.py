"""torch.while_loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch import dtypes
from funtorch._higher_order_ops._common import (
    UncapturedHigherOrderOpError,
    avals_of,
    captured,
    check_alike,
    leaves_of,
)
from funtorch.dispatch import read
from funtorch.func.flow import Keyed, repeated
from funtorch.func.pure import is_leaf, tree
from funtorch.ops.from_data import tensor
from funtorch.tensor import Tensor


def while_loop(
    cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any
) -> Any:
    """Repeats `carried = body_fn(*carried)` while `cond_fn(*carried)` holds.

    carried_inputs: a tuple or list of tensors and whole numbers, nested or not; numbers become
    tensors. The body keeps shapes and types. Its gradient computes states again on the way back
    (`func.loops`), so memory does not grow with the number of steps; it has no gradient itself.

    Raises RuntimeError for functions that are none; AssertionError for other leaves than tensors and
    whole numbers; UncapturedHigherOrderOpError for functions that cannot be captured.
    """
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError("Expect cond_fn and body_fn to be callable.")
    leaves = leaves_of(carried_inputs)
    for leaf in leaves:
        if not isinstance(leaf, Tensor | int):
            raise AssertionError(f"{leaves} can only be tensors and ints, but got {type(leaf)}")
    places = [read(t).aval.place for t in leaves if isinstance(t, Tensor)]
    tensors = [x if isinstance(x, Tensor) else tensor(x) for x in leaves]
    place = places[0] if places else read(tensors[0]).aval.place
    structure = tree.tree_structure(carried_inputs, is_leaf=is_leaf)

    def flat(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: function(*tree.tree_unflatten(structure, given))

    keyed = Keyed(flat(body_fn))
    avals = avals_of(tensors)
    body = keyed.plain(captured("while_loop", keyed, (Keyed.aval(place), *avals), place))
    state = [*keyed.first(place), *tensors]
    wanted = avals_of(state)
    check_alike("while_loop", "body_fn_output and carried_inputs", body.avals(), wanted)
    test = captured(
        "while_loop", _test(flat(cond_fn), len(state) - len(avals)), tuple(wanted), place
    )
    made = repeated("while_loop", test, body, state, tuple(range(len(state))))
    return body.rebuilt(made)[1]


def _test(cond_fn: Callable[..., Any], skip: int) -> Callable[..., Any]:
    """The condition, of all but the first `skip` carried values, as a tensor."""

    def run(*state: Any) -> Tensor:
        found = cond_fn(*state[skip:])
        if type(found) is bool:
            return tensor(found, device=state[0].device)
        if not isinstance(found, Tensor) or found.shape != () or found.dtype != dtypes.bool_:
            raise UncapturedHigherOrderOpError(
                "torch.while_loop: unsupported cond_fn return type: a boolean scalar tensor or a "
                f"boolean is expected, not {type(found).__name__}"
            )
        return found

    return run
