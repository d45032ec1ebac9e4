"""The tables of rules: funtorch ops, and JAX primitives for everything that has no rule of its own.

    @rule("relu")
    def relu(g, self):                      # the op's own arguments; values in place of arrays
        return g.op("Relu", self)

    @primitive("tanh")
    def tanh(g, eqn, x):                    # inputs by position; eqn.params, eqn.outvars
        return g.op("Tanh", x)

A rule that returns NotImplemented leaves this call to the primitives of its lowering.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Rule = Callable[..., Any]

RULES: dict[str, Rule] = {}
PRIMITIVES: dict[str, Rule] = {}
COMPLEX: dict[
    str, Rule
] = {}  # those primitives where a complex number is among what they take or give


def _entered(table: dict[str, Rule], names: Sequence[str]) -> Callable[[Rule], Rule]:
    def decorate(fn: Rule) -> Rule:
        for name in names:
            if name in table:
                raise ValueError(f"there are two rules for {name!r}")
            table[name] = fn
        return fn

    return decorate


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for these ops."""
    return _entered(RULES, names)


def primitive(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for these primitives of JAX."""
    return _entered(PRIMITIVES, names)


def complex_primitive(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for these primitives on complex numbers, which are Pairs."""
    return _entered(COMPLEX, names)


class Missing(NamedTuple):
    """Something without a rule: the op, where it was called, why there is none."""

    op: str
    path: str
    line: str
    why: str


class OnnxExporterError(RuntimeError):
    """A model could not be written as ONNX."""


class UnsupportedOps(OnnxExporterError, NotImplementedError):  # noqa: N818  (says what was found)
    """Ops that have no form in ONNX: all of them, with module path and line."""

    def __init__(self, found: Sequence[Missing]) -> None:
        self.found = list(found)
        lines = []
        for op, path, line, why in dict.fromkeys(found):
            where = " ".join(w for w in (f"in {path!r}" if path else "", line) if w)
            lines.append(f"  {op}{f' ({where})' if where else ''}: {why}")
        super().__init__("these ops cannot be written as ONNX:\n" + "\n".join(lines))


class NoRule(Exception):  # noqa: N818  (caught where the op is known)
    """Raised by a rule for what it cannot write: says why."""
