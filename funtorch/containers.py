"""Containers of the user's own: classes that `torch.utils._pytree` or `torch.export` made nodes of a tree.

They stand here, below everything that walks arguments, by class and by the name that files call them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Container(NamedTuple):
    """A class of containers: flatten(node) -> (children, context); unflatten(children, context).

    names: the children's names, for people. dump, load: the context as plain data, and back.
    """

    kind: type
    name: str
    flatten: Callable[[Any], tuple[Iterable[Any], Any]]
    unflatten: Callable[[Iterable[Any], Any], Any]
    names: Callable[[Any], list[str]] | None
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


by_class: dict[type, Container] = {}
by_name: dict[str, Container] = {}


def register(container: Container) -> None:
    """Make a class known; the last word counts."""
    by_class[container.kind] = container
    by_name[container.name] = container


def children_of(node: Any, found: Container) -> tuple[list[Any], Any, list[str]]:
    """(children, context, a name for each child)."""
    children, context = found.flatten(node)
    items = list(children)
    names = found.names(node) if found.names is not None else []
    if not names and isinstance(node, dict) and len(node) == len(items):
        names = [str(k) for k in node]
    return items, context, names or [str(i) for i in range(len(items))]


class Fields(dict[str, Any]):
    """A container whose class this process does not know: its parts as items and as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None
