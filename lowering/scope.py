"""Scopes: which module call an op was recorded in. They say where a trace may be cut."""

from __future__ import annotations


class Scope:
    """One module call (or its backward). `label` names what is called, equal for equal things."""

    __slots__ = ("depth", "gradient", "label", "name", "parent")

    def __init__(self, label: object, parent: Scope | None, name: str = "") -> None:
        self.label = label
        self.parent = parent
        self.name = name
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.gradient: Scope | None = None

    def backward(self) -> Scope:
        """The scope of this call's gradient ops."""
        if self.gradient is None:
            parent = self.parent.backward() if self.parent is not None else None
            self.gradient = Scope(("backward", self.label), parent, self.name)
        return self.gradient

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
