"""Scopes: which module call an op was recorded in. They say where a trace may be cut."""

from __future__ import annotations


class Scope:
    """One module call (or its backward). `label` names what is called, equal for equal things.

    whole: never cut what was recorded in it.
    """

    __slots__ = ("depth", "label", "name", "of_backward", "parent", "whole")

    def __init__(
        self, label: object, parent: Scope | None, name: str = "", whole: bool = False
    ) -> None:
        self.label = label
        self.parent = parent
        self.name = name
        self.whole = whole
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.of_backward: Scope | None = None

    def backward(self) -> Scope:
        """The scope of this call's gradient ops."""
        if self.of_backward is None:
            parent = self.parent.backward() if self.parent is not None else None
            self.of_backward = Scope(("backward", self.label), parent, self.name, self.whole)
        return self.of_backward

    def path(self) -> str:
        """Names from the outermost call inwards, with dots."""
        names: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            names.append(scope.name)
            scope = scope.parent
        return ".".join(reversed(names))


def ancestors(scope: Scope | None) -> list[Scope]:
    """The scopes around an op, outermost first."""
    chain: list[Scope] = []
    while scope is not None:
        chain.append(scope)
        scope = scope.parent
    chain.reverse()
    return chain
