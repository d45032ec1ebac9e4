"""FX graphs of exported programs as JSON, so that a loaded program has its graph.

Ops are named as the dispatcher names them and looked up when the graph is read; nothing is unpickled.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

from funtorch import dtypes, fx
from funtorch.device import device, place_of
from funtorch.export.build import placeholder
from funtorch.export.graph import Expression, Recorded, sym_size
from funtorch.lowering import aval_of
from funtorch.lowering.op import op_named
from funtorch.ops import aten


class Unnamed:
    """A recorded op that no name leads to: a graph shows it, and cannot run it."""

    __module__ = "recorded"

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: Any) -> Any:
        raise RuntimeError(
            f"the op {self.__name__!r} of this graph has no name outside of the process that recorded "
            "it: ExportedProgram.module() runs the program"
        )


def _named(target: Any) -> str:
    if isinstance(target, aten.OpOverloadPacket):
        return f"aten.{target.__name__}"
    if isinstance(target, Expression):
        return f"size:{target.text}"
    if target is sym_size or target is operator.getitem:
        return "sym_size" if target is sym_size else "getitem"
    assert isinstance(target, Recorded)
    op = target.info.op
    if target.statics is not None or op_named(op.name) is not op:
        return f"recorded.{target.__name__}"
    return f"op:{op.name}:{target.split[0]}:{target.split[1]}"


def _found(name: str) -> Callable[..., Any]:
    kind, _, rest = name.partition(":" if name.startswith(("size:", "op:")) else ".")
    if kind == "size":
        return Expression(rest)
    if kind == "op":
        *path, first, second = rest.split(":")
        op = op_named(":".join(path))
        if op is None:
            return Unnamed(path[0])
        return Recorded(op, place_of(None), (int(first), int(second)))
    if kind == "aten":
        return getattr(aten, rest)  # type: ignore[no-any-return]
    plain: dict[str, Callable[..., Any]] = {"sym_size": sym_size, "getitem": operator.getitem}
    return plain[kind] if kind in plain else Unnamed(rest)


def _written(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_written(x) for x in value]}
    if isinstance(value, list):
        return [_written(x) for x in value]
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, slice):
        return {"slice": [_written(x) for x in (value.start, value.stop, value.step)]}
    if isinstance(value, dtypes.dtype):
        return {"dtype": value.numpy.name}
    return {"device": str(value)} if isinstance(value, device) else {"text": repr(value)}


def _read(value: Any, nodes: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_read(x, nodes) for x in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    makers: dict[str, Callable[[Any], Any]] = {
        "node": nodes.__getitem__,
        "tuple": lambda parts: tuple(_read(x, nodes) for x in parts),
        "complex": lambda parts: complex(*parts),
        "slice": lambda parts: slice(*(_read(x, nodes) for x in parts)),
        "dtype": dtypes.by_name,
        "device": device,
        "text": str,
    }
    return makers[kind](inner)


def graph_to_bytes(graph: fx.Graph) -> bytes:
    """A graph as JSON: a list of nodes, with shapes and dtypes where they are fixed."""
    nodes = []
    for node in graph.nodes:
        entry = {"op": node.op, "name": node.name, "args": _written(node.args)}
        if node.op == "call_function":
            entry["target"] = _named(node.target)
        elif node.op == "placeholder":
            entry["target"] = str(node.target)
        if node.kwargs:
            entry["kwargs"] = {k: _written(v) for k, v in node.kwargs.items()}
        if "val" in node.meta:
            aval = node.meta["val"]._value.aval
            entry["val"] = [list(aval.shape), aval.dtype.name]
        nodes.append(entry)
    return json.dumps(nodes, separators=(",", ":")).encode()


def graph_from_bytes(data: bytes) -> fx.Graph:
    """The graph again. Raises ValueError, KeyError or AttributeError for what is no such graph."""
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for entry in json.loads(data):
        args = _read(entry["args"], nodes)
        kwargs = {k: _read(v, nodes) for k, v in entry.get("kwargs", {}).items()}
        if entry["op"] == "output":
            node = graph.output(args[0])
        elif entry["op"] == "placeholder":
            node = graph.placeholder(entry["target"])
            node.name = entry["name"]
        else:
            target = _found(entry["target"])
            node = graph.create_node(entry["op"], target, args, kwargs, name=entry["name"])
        if "val" in entry:
            shape, dtype = entry["val"]
            node.meta["val"] = placeholder(
                aval_of(tuple(shape), dtypes.by_name(dtype).numpy, "meta")
            )
        nodes[entry["name"]] = node
    return graph
