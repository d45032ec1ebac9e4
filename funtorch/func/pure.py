"""From a user's function to a pure one, and back to an op.

The function is traced with placeholders into a program of its own. JAX transforms that program's
pure function, and the result is recorded as one op of the trace around it, with the placeholders'
values and everything the function closed over as inputs. So transforms nest, and the tape goes
through them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funtorch.containers import by_class
from funtorch.dispatch import OpInfo, call, read
from funtorch.grad_mode import capturing
from funtorch.lowering import Aval, Captured, Op, aval_of, capture
from funtorch.lowering.program import run as run_program
from funtorch.lowering.symbolic import Nested
from funtorch.tensor import Tensor, wrap

tree = jax.tree_util


def is_leaf(node: Any) -> bool:
    """Tensors are leaves of argument trees."""
    return isinstance(node, Tensor)


class _InOrder(dict[Any, Any]):
    """A dict that JAX flattens as it is; a plain one it would sort."""


tree.register_pytree_node(
    _InOrder, lambda d: (tuple(d.values()), tuple(d)), lambda k, v: dict(zip(k, v, strict=True))
)


def in_order(node: Any) -> Any:
    """Arguments or results whose dicts keep the order of their keys when they are flattened."""
    if type(node) is dict:
        return _InOrder({k: in_order(v) for k, v in node.items()})
    found = by_class.get(type(node))
    if found is not None:
        children, context = found.flatten(node)
        return found.unflatten([in_order(x) for x in children], context)
    if isinstance(node, tuple | list) and not isinstance(node, Tensor):
        parts = [in_order(x) for x in node]
        return type(node)(*parts) if hasattr(node, "_fields") else type(node)(parts)
    return node


class Traced:
    """A function's captured program, and how its outputs are put together.

    closed_over are the tensors (not just values) that it read from outside: the tape needs them.
    """

    def __init__(
        self, captured: Captured, out_tree: Any, out_spec: list[Any], closed_over: list[Tensor]
    ) -> None:
        self.captured = captured
        self.out_tree = out_tree
        self.out_spec = out_spec
        self.closed_over = closed_over

    def __call__(self, arrays: Sequence[Any], closed: Sequence[Any]) -> list[Any]:
        """The pure function: arrays for the placeholders and the closed-over values."""
        return run_program(self.captured.program, [*arrays, *closed], list(self.captured.scalars))

    def rebuild(self, outputs: Sequence[Any]) -> Any:
        """The function's return value with these leaves."""
        leaves = iter(outputs)
        return tree.tree_unflatten(
            self.out_tree, [next(leaves) if s is None else s for s in self.out_spec]
        )


def trace(function: Callable[..., Any], avals: Sequence[Aval], spec: Any) -> Traced:
    """Trace `function` with placeholders of these avals at the tensor leaves of its arguments.

    spec: (tree, leaves) of (args, kwargs), with None where a placeholder goes.
    """
    arg_tree, leaves = spec
    place = avals[0].place
    with capturing(), capture(place) as recorder:
        inputs = [wrap(recorder.placeholder(aval)) for aval in avals]
        fill = iter(inputs)
        full = [next(fill) if leaf is None else leaf for leaf in leaves]
        own_args, own_kwargs = tree.tree_unflatten(arg_tree, full)
        result = function(*own_args, **own_kwargs)
        out_leaves, out_tree = tree.tree_flatten(result, is_leaf=is_leaf)
        tensors = [leaf for leaf in out_leaves if isinstance(leaf, Tensor)]
        captured = recorder.finish([read(t) for t in tensors])
    out_spec = [None if isinstance(leaf, Tensor) else leaf for leaf in out_leaves]
    return Traced(captured, out_tree, out_spec, closed_over(recorder, captured))


def closed_over(recorder: capture, captured: Captured) -> list[Tensor]:
    """The tensors that a captured function read from outside."""
    origins = recorder.trace.origins
    known = [origins.get(v) for v in captured.closed_over]
    return [wrap(v) if t is None else t for v, t in zip(captured.closed_over, known, strict=True)]


_ops: dict[str, OpInfo] = {}


class Static:
    """A hashable stand-in for a traced function: equal programs are one op instance."""

    __slots__ = ("key", "pure")

    def __init__(self, key: Any, pure: Callable[..., Sequence[Any]]) -> None:
        self.key = key
        self.pure = pure

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self.key == other.key


def _lower(arrays: Sequence[Any], numbers: Sequence[Any], statics: Static) -> tuple[Any, ...]:
    return tuple(statics.pure(arrays))


def record_pure(
    name: str, key: Any, pure: Callable[..., Sequence[Any]], tensors: Sequence[Tensor]
) -> list[Tensor]:
    """Record `pure(arrays) -> arrays` as one op on these tensors."""
    info = _ops.get(name)
    if info is None:
        info = _ops[name] = OpInfo(Op(name, _lower))
    return call(info, Static((name, key), pure), tensors, ())


def record_nested(name: str, statics: Nested, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Record an op that holds programs of its own as one op on these tensors."""
    info = _ops.get(name)
    if info is None:
        info = _ops[name] = OpInfo(Op(name, _lower))
    return call(info, statics, tensors, ())


class Whole:
    """The static side of a call that is kept as one op: which arguments are tensors, and the rest."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    def __call__(self, runners: Sequence[Callable[[Sequence[Any]], list[Any]]]) -> Any:
        """What `Nested` asks for: the pure function of the op, made of that of its program."""
        return runners[0]

    def arguments(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The call's arguments with these in place of its tensors; what follows was closed over."""
        structure, leaves = self.spec
        given = iter(values)
        full = [next(given) if leaf is None else leaf for leaf in leaves]
        return tree.tree_unflatten(structure, full)[0]  # type: ignore[no-any-return]


def record_whole(name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Record `function(*args)` as one op of this name, however many ops it is made of."""
    tensors, spec = split(args, {})
    traced = trace(function, [read(t).aval for t in tensors], spec)
    captured = traced.captured
    key = name, captured.key, str(spec)
    statics = Nested(key, [captured.program], [captured.scalars], Whole(spec))
    return traced.rebuild(record_nested(name, statics, [*tensors, *traced.closed_over]))


def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Tensor], Any]:
    """(tensor leaves of the arguments, spec for `trace`)."""
    leaves, structure = tree.tree_flatten((args, kwargs), is_leaf=is_leaf)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return tensors, (structure, [None if isinstance(x, Tensor) else x for x in leaves])


def aval_without(aval: Aval, dim: int) -> Aval:
    """An aval with one dimension taken out."""
    return aval_of(aval.shape[:dim] + aval.shape[dim + 1 :], aval.dtype, aval.place)
