"""Node: one step of a graph, linked to its neighbours and to the nodes that use it."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from funtorch.fx.names import qualified_name

if TYPE_CHECKING:
    from funtorch.fx.graph import Graph

Argument = Any
Target = Callable[..., Any] | str

OPS = frozenset(
    ("placeholder", "call_method", "call_module", "call_function", "get_attr", "output", "root")
)


def map_aggregate(a: Argument, fn: Callable[[Argument], Argument]) -> Argument:
    """Apply a function to everything within tuples, lists, dicts and slices."""
    if isinstance(a, tuple):
        made = tuple(map_aggregate(x, fn) for x in a)
        return type(a)(*made) if hasattr(a, "_fields") else made
    if isinstance(a, list):
        return [map_aggregate(x, fn) for x in a]
    if isinstance(a, dict):
        return {key: map_aggregate(x, fn) for key, x in a.items()}
    if isinstance(a, slice):
        return slice(*(map_aggregate(x, fn) for x in (a.start, a.stop, a.step)))
    return fn(a)


def map_arg(a: Argument, fn: Callable[[Node], Argument]) -> Argument:
    """Apply a function to every Node within an argument."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


class Node:
    """A step: `op` says of what kind, `target` what is called, `args` and `kwargs` with what.

    | op | target |
    | placeholder | the parameter's name; args may hold its default |
    | get_attr, call_module | the attribute's path in the module |
    | call_function | the function |
    | call_method | the method's name; args[0] is the object |
    | output | 'output'; args[0] is what is returned |
    """

    def __init__(
        self,
        graph: Graph,
        name: str,
        op: str,
        target: Target,
        args: tuple[Argument, ...],
        kwargs: dict[str, Argument],
        return_type: Any = None,
    ) -> None:
        if op not in OPS:
            raise AssertionError(f"op {op!r} must be one of {sorted(OPS)}")
        if op == "call_function" and not callable(target):
            raise ValueError(
                f"Node [graph = {graph}, name = '{name}'] target {target} is not callable"
            )
        self.graph, self.name, self.op, self.target = graph, name, op, target
        self.type = return_type
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._input_nodes: dict[Node, None] = {}
        self._prev = self._next = self
        self._erased = False
        self._args: tuple[Argument, ...] = ()
        self._kwargs: dict[str, Argument] = {}
        self._set(args, kwargs)

    def _set(self, args: tuple[Argument, ...], kwargs: dict[str, Argument]) -> None:
        for old in self._input_nodes:
            old.users.pop(self, None)
        self._input_nodes = {}

        def note(node: Node) -> Node:
            self._input_nodes[node] = None
            node.users[self] = None
            return node

        self._args, self._kwargs = map_arg(tuple(args), note), map_arg(dict(kwargs), note)

    @property
    def args(self) -> tuple[Argument, ...]:
        """Positional arguments; assign a new tuple to change them."""
        return self._args

    @args.setter
    def args(self, args: tuple[Argument, ...]) -> None:
        self._set(args, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Argument]:
        """Keyword arguments; assign a new dict to change them."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Argument]) -> None:
        self._set(self._args, kwargs)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among the arguments, each once."""
        return list(self._input_nodes)

    @property
    def next(self) -> Node:
        """The node after this one."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before this one."""
        return self._prev

    def update_arg(self, idx: int, arg: Argument) -> None:
        """Replace one positional argument."""
        self.args = (*self.args[:idx], arg, *self.args[idx + 1 :])

    def insert_arg(self, idx: int, arg: Argument) -> None:
        """Put a positional argument before another."""
        self.args = (*self.args[:idx], arg, *self.args[idx:])

    def update_kwarg(self, key: str, arg: Argument) -> None:
        """Replace one keyword argument."""
        self.kwargs = {**self.kwargs, key: arg}

    def prepend(self, x: Node) -> None:
        """Move a node to the place before this one."""
        if self.graph is not x.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if x is self:
            return
        x._unlink()
        before = self._prev
        before._next, x._prev = x, before
        x._next, self._prev = self, x

    def append(self, x: Node) -> None:
        """Move a node to the place after this one."""
        self._next.prepend(x)

    def _unlink(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    def replace_all_uses_with(
        self,
        replace_with: Node,
        delete_user_cb: Callable[[Node], bool] = lambda user: True,
        *,
        propagate_meta: bool = False,
    ) -> list[Node]:
        """Make every user take another node instead; returns the users that were changed."""
        if propagate_meta:
            replace_with.meta.update(self.meta)
        changed = [user for user in list(self.users) if delete_user_cb(user)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Take another node in place of an argument, wherever it stands."""

        def swap(node: Node) -> Node:
            return new_input if node is old_input else node

        self._set(map_arg(self.args, swap), map_arg(self.kwargs, swap))

    def is_impure(self, impure_random: bool = True) -> bool:
        """Must it stay even if nobody uses its result?"""
        if self.op == "call_function" and str(self.target).endswith("_"):
            return True
        return self.op in ("placeholder", "output")

    def format_node(self) -> str | None:
        """The node as a line of text; None for an output without one."""
        if self.op == "placeholder":
            default = f"(default={self.args[0]})" if self.args else ""
            return f"{self._left()}[target={self.target}]{default}"
        if self.op == "output":
            return f"return {self.args[0]}"
        called = f"{self._left()}[target={self._shown_target()}]"
        if self.op == "get_attr":
            return called
        return f"{called}(args = {shown(self.args)}, kwargs = {shown(self.kwargs)})"

    def _left(self) -> str:
        kind = "" if self.type is None else f"{type_text(self.type)} "
        return f"%{self.name} : {kind}[num_users={len(self.users)}] = {self.op}"

    def _shown_target(self) -> str:
        if isinstance(self.target, str):
            return self.target
        name = qualified_name(self.target)
        return name if "." in name else f"builtins.{name}"

    def __repr__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __lt__(self, other: Node) -> bool:
        order = {node: i for i, node in enumerate(self.graph.nodes)}
        return order[self] < order[other]


def shown(a: Argument) -> str:
    """An argument as text; nodes with a %."""
    if isinstance(a, Node):
        return f"%{a.name}"
    if isinstance(a, tuple):
        return f"({', '.join(map(shown, a))}{',' if len(a) == 1 else ''})"
    if isinstance(a, list):
        return f"[{', '.join(map(shown, a))}]"
    if isinstance(a, dict):
        return f"{{{', '.join(f'{k}: {shown(v)}' for k, v in a.items())}}}"
    return str(a)


def type_text(kind: Any) -> str:
    """An annotation as code."""
    if isinstance(kind, str):
        return kind
    if isinstance(kind, types.GenericAlias) or not isinstance(kind, type):
        return str(kind).replace("funtorch.", "torch.")
    if kind.__module__ == "builtins":
        return kind.__name__
    if kind.__module__.startswith("funtorch"):
        return f"torch.{kind.__name__}"
    return f"{kind.__module__}.{kind.__name__}"
