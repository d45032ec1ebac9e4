"""The table of rules: which function of funtorch tensors an ONNX op is, from which opset on.

    @rule("Elu")
    @kernel
    def elu(x: Array, *, alpha: float = 1.0) -> Array:
        return jnp.where(x > 0, x, alpha * jnp.expm1(x))

Inputs come by position, None where ONNX leaves them out; attributes by keyword under their ONNX
names, with ONNX's defaults as defaults. A rule that needs to know more takes `ctx` (see `module`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from funtorch.ops._declare import op

Array = jax.Array
LATEST = 10_000
DOMAINS = {"ai.onnx": ""}


class UnsupportedNodes(NotImplementedError):  # noqa: N818  (says what was found)
    """Nodes for which there is no rule: all of them, with their names."""

    def __init__(self, nodes: Sequence[tuple[str, str]], target: str = "funtorch") -> None:
        self.nodes = list(nodes)
        by_op: dict[str, list[str]] = {}
        for name, where in nodes:
            by_op.setdefault(name, []).append(where)
        lines = [f"  {name}: {', '.join(places)}" for name, places in sorted(by_op.items())]
        super().__init__(f"{target} has no rule for these ONNX ops:\n" + "\n".join(lines))


class Rule:
    """One rule. `host` names the inputs that are read as NumPy arrays, `raw` leaves all as is."""

    __slots__ = ("attributes", "ctx", "fn", "host", "raw", "since", "until")

    def __init__(
        self, fn: Callable[..., Any], since: int, until: int, host: str, raw: bool
    ) -> None:
        self.fn = fn
        self.since, self.until = since, until
        self.raw = raw
        parameters = inspect.signature(fn).parameters
        names = list(parameters)
        self.host = frozenset(names.index(name) for name in host.split())
        keywords = {n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
        self.ctx = "ctx" in keywords
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self.attributes = None if open_ended else keywords - {"ctx"}


HOST: dict[str, Callable[..., Any]] = {}
"""Rules of the default domain for inputs that are all known on the host: arithmetic on shapes."""


class Table:
    """Rules by op. `target` says in errors what the ops become."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._rules: dict[tuple[str, str], list[Rule]] = {}

    def rule(
        self,
        *names: str,
        since: int = 1,
        until: int = LATEST,
        host: str = "",
        raw: bool = False,
        domain: str = "",
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Enter a function into the table for these ops, at opsets since <= version <= until."""

        def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
            for name in names:
                entry = Rule(fn, since, until, host, raw)
                self._rules.setdefault((domain, name), []).append(entry)
            return fn

        return decorate

    def find(self, domain: str, name: str, opset: int) -> Rule | None:
        """The rule for this op at this opset."""
        for entry in self._rules.get((DOMAINS.get(domain, domain), name), ()):
            if entry.since <= opset <= entry.until:
                return entry
        return None


RULES = Table("funtorch")
rule = RULES.rule


def kernel(body: Callable[..., Any]) -> Callable[..., Any]:
    """A private op with a JAX body: arrays by position, static attributes by keyword."""
    return op(name=f"_onnx_{body.__name__}", function=False)(body)


def ints(values: Any) -> tuple[int, ...]:
    """A shape, axes or the like as plain integers."""
    if values is None:
        return ()
    return tuple(int(v) for v in np.asarray(values).reshape(-1))
