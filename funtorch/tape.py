"""The tape: one node per recorded op whose inputs require grad.

A node keeps the *values* of the inputs that its gradient needs. Values are immutable, so a gradient
is always right; that an input was since changed in place is an error only because it is one in
PyTorch, and is noticed by comparing version counters.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from funtorch.lowering import Block, Instance, Value
from funtorch.lowering.record import owner
from funtorch.tensor import Storage, Tensor

Edge = tuple["Node", int]

_sequence = itertools.count()


class Node:
    """What `Tensor.grad_fn` is: an op of the backward graph.

    edges: per input of the forward op, the node and output index its gradient goes to, or None.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "edges",
        "hooks",
        "notes",
        "out_avals",
        "prehooks",
        "scope",
        "sequence",
    )

    def __init__(self, edges: tuple[Edge | None, ...], out_avals: Sequence[Any]) -> None:
        self.edges = edges
        self.out_avals = out_avals
        self.sequence = next(_sequence)
        self.scope = owner().scope
        self.hooks: dict[int, Callable[..., Any]] | None = None
        self.prehooks: dict[int, Callable[..., Any]] | None = None
        self.notes: dict[str, Any] | None = None

    def name(self) -> str:
        """PyTorch's name of the node, for example 'AddBackward0'."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """Where the gradients of the inputs go."""
        return tuple(edge if edge is not None else (None, 0) for edge in self.edges)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A place for the user's own remarks."""
        found: dict[Any, Any] = self.noted("metadata", dict)
        return found

    def noted(self, what: str, make: Callable[[], Any]) -> Any:
        """What is remembered of this node beside what every node has; made if there is none yet."""
        if self.notes is None:
            self.notes = {}
        if what not in self.notes:
            self.notes[what] = make()
        return self.notes[what]

    def note(self, what: str) -> Any:
        """The same, or None."""
        return None if self.notes is None else self.notes.get(what)

    def register_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call `hook(grad_inputs, grad_outputs)` after this node ran; it may replace the former."""
        if self.hooks is None:
            self.hooks = {}
        return Handle(self.hooks, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> Handle:
        """Call `hook(grad_outputs)` before this node runs; it may replace them."""
        if self.prehooks is None:
            self.prehooks = {}
        return Handle(self.prehooks, hook)


_handle_ids = itertools.count()


class Handle:
    """What registering a hook returns; `remove()` takes the hook away again."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self.id = next(_handle_ids)
        self._hooks = hooks
        hooks[self.id] = hook

    def remove(self) -> None:
        """Remove the hook; doing so twice is harmless."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class OpNode(Node):
    """The gradient of one recorded op instance.

    sources: for each output the inputs it depends on, where that is known; else None.
    """

    __slots__ = ("inst", "residuals", "saved", "scalars", "sources", "values", "versions")

    inst: Instance
    scalars: Sequence[Any]
    saved: tuple[int, ...]
    values: list[Value] | None
    versions: Sequence[tuple[Storage, int, int]]  # (storage, version, input or -1 for the result)
    residuals: tuple[tuple[int, ...], list[Value]] | None
    sources: Sequence[frozenset[int]] | None


class Recipe(NamedTuple):
    """The ops of a `BlockNode`'s gradient.

    sources: what each input of the block is: a saved value by number, or `~i`, the gradient of
    output i. gradients: for each edge an output of the block by number, `~k`, its input k, or None.
    """

    uid: int
    block: Block
    sources: tuple[int, ...]
    gradients: tuple[int | None, ...]
    avals: tuple[Any, ...]
    scalars: Sequence[Any]


class BlockNode(Node):
    """The gradient of several recorded ops, which is recorded at one go."""

    __slots__ = ("recipe", "values", "versions")

    recipe: Recipe
    values: list[Value] | None
    versions: Sequence[tuple[Storage, int, int]]


@functools.cache
def node_class(name: str) -> type[OpNode]:
    """The node class with this name."""
    return type(name, (OpNode,), {"__slots__": ()})


class AccumulateGrad(Node):
    """Where the gradient of a leaf arrives."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor) -> None:
        super().__init__((), (variable._value.aval,))
        self.variable = variable
        self.scope = None


def gradient_edge(tensor: Tensor) -> Edge | None:
    """Where the gradient of a tensor goes, or None if it has none."""
    if tensor._node is not None:
        return tensor._node, tensor._out
    if tensor._requires:
        if tensor._accumulator is None:
            tensor._accumulator = AccumulateGrad(tensor)
        return tensor._accumulator, 0
    return None
