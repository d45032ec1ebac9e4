"""`with scope(...)`: what the facade wraps around a module call."""

from __future__ import annotations

from funtorch.lowering.record import owner
from funtorch.lowering.scope import Scope


class scope:  # noqa: N801  (a context manager, used as a verb)
    """Ops recorded within belong to one call of `label`; `name` is for people.

    whole: they are compiled together, never in pieces.
    """

    __slots__ = ("label", "name", "state", "whole")

    def __init__(self, label: object, name: str = "", *, whole: bool = False) -> None:
        self.label = label
        self.name = name
        self.whole = whole

    def __enter__(self) -> Scope:
        self.state = owner()
        entered = Scope(self.label, self.state.scope, self.name, self.whole)
        self.state.scope = entered
        return entered

    def __exit__(self, *exc: object) -> None:
        inner = self.state.scope
        if inner is not None:
            self.state.scope = inner.parent


class within:  # noqa: N801
    """Record into an existing scope (the backward pass re-enters those of the forward pass)."""

    __slots__ = ("before", "state", "target")

    def __init__(self, target: Scope | None) -> None:
        self.target = target

    def __enter__(self) -> None:
        self.state = owner()
        self.before = self.state.scope
        self.state.scope = self.target

    def __exit__(self, *exc: object) -> None:
        self.state.scope = self.before
