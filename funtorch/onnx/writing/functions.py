"""Local functions: the nodes of one module's call as one node. Equal calls share a function.

A module's nodes lie together in the graph; what they read from outside becomes the function's inputs
(weights too), what others read of them its outputs. Constants go along inside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import onnx
from onnx import helper

from funtorch.onnx.writing.values import Node, Val

DOMAIN = "pkg.funtorch"


class Functions:
    """The functions made so far, and the nodes that call them. message: Node -> NodeProto."""

    def __init__(
        self, classes: bool | Collection[type], message: Callable[[Node], onnx.NodeProto]
    ) -> None:
        self.message = message
        self.wanted = (
            None if classes is True else {f"{c.__module__}.{c.__qualname__}" for c in classes or ()}
        )
        self.made: dict[Any, onnx.FunctionProto] = {}
        self.names: set[str] = set()

    def folded(self, nodes: Sequence[Node], outputs: Collection[str], opsets: Any) -> list[Node]:
        """The nodes with each module's call, from the innermost outwards, folded into one."""
        depth = max((len(n.origin.names) for n in nodes if n.origin is not None), default=0)
        found = list(nodes)
        for level in range(depth - 1, 0, -1):  # the model itself stays the graph
            found = self._level(found, level, outputs, opsets)
        return found

    def _level(
        self, nodes: list[Node], level: int, outputs: Collection[str], opsets: Any
    ) -> list[Node]:
        constants = {n.outputs[0].name: n for n in nodes if n.op == "Constant"}
        made: list[Node] = []
        runs = list(_runs(nodes, level))
        for index, (key, run) in enumerate(runs):
            if key is None or (self.wanted is not None and key[1] not in self.wanted):
                made += run
                continue
            behind = {x.name for _, r in runs[index + 1 :] for n in r for x in _read(n)}
            made.append(self._call(run, key, level, behind | set(outputs), constants, opsets))
        return made

    def _call(
        self,
        run: list[Node],
        key: tuple[str, str],
        level: int,
        wanted: Collection[str],
        constants: dict[str, Node],
        opsets: Any,
    ) -> Node:
        own = {o.name for n in run for o in n.outputs}
        given: dict[str, Val] = {}
        inside: dict[str, Node] = {}
        for node in run:
            for x in _read(node):
                if x.name in constants:
                    inside[x.name] = constants[x.name]
                elif x.name not in own:
                    given.setdefault(x.name, x)
        outs = [o for n in run for o in n.outputs if o.name in wanted]
        body = [*inside.values(), *run]
        name = self._function(body, list(given), [o.name for o in outs], key[1], opsets)
        first = next(n.origin for n in run if n.origin is not None)
        origin = type(first)(name, first.names[:level], first.classes[:level], "")
        return Node(name, DOMAIN, tuple(given.values()), tuple(outs), {}, origin)

    def _function(
        self,
        body: Sequence[Node],
        inputs: Sequence[str],
        outputs: Sequence[str],
        kind: str,
        opsets: Any,
    ) -> str:
        """The name of the function with this body; values have names of its own in it."""
        called = {n: f"input_{i}" for i, n in enumerate(inputs)}
        protos = []
        for index, node in enumerate(body):
            proto = self.message(node)
            proto.name = f"node_{index}"
            del proto.metadata_props[:]
            for o in proto.output:
                called.setdefault(o, f"value_{len(called)}")
            _rename(proto, called)
            protos.append(proto)
        ends = [called[n] for n in outputs]
        short = kind.rsplit(".", 1)[-1]
        key = short, len(inputs), tuple(ends), tuple(p.SerializeToString() for p in protos)
        found = self.made.get(key)
        if found is None:
            name = short if short not in self.names else f"{short}_{len(self.names)}"
            self.names.add(name)
            found = self.made[key] = helper.make_function(
                DOMAIN, name, [called[n] for n in inputs], ends, protos, opsets
            )
        return str(found.name)


def _runs(nodes: Sequence[Node], level: int) -> Iterator[tuple[tuple[str, str] | None, list[Node]]]:
    """Neighbours of the same module call at this depth: ((path, class) or None, nodes)."""
    run: list[Node] = []
    before: tuple[str, str] | None = None
    for node in nodes:
        origin = node.origin
        deep = origin is not None and len(origin.names) > level and node.op != "Constant"
        key = (origin.names[level], origin.classes[level]) if deep else None
        if run and (key != before or key is None):
            yield before, run
            run = []
        run.append(node)
        before = key
    if run:
        yield before, run


def _read(node: Node) -> Iterator[Val]:
    """Values that a node reads, in its subgraphs too."""
    yield from (x for x in node.inputs if x is not None)
    for value in node.attrs.values():
        if hasattr(value, "nodes"):
            made = {o.name for n in value.nodes for o in n.outputs}
            made |= {v.name for v in value.inputs}
            inner = [x for n in value.nodes for x in _read(n)]
            yield from (x for x in (*inner, *value.outputs) if x.name not in made)


def _rename(proto: Any, called: dict[str, str]) -> None:
    for names in (proto.input, proto.output):
        for i, name in enumerate(names):
            names[i] = called.get(name, name)
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            for value in (*attribute.g.input, *attribute.g.output):
                value.name = called.get(value.name, value.name)
            for node in attribute.g.node:
                _rename(node, called)
