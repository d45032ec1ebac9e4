"""From a graph to protobuf messages: unused nodes go, outputs get their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from funtorch.onnx.writing.functions import DOMAIN, Functions
from funtorch.onnx.writing.graph import Graph
from funtorch.onnx.writing.values import Block, Node, Val
from funtorch.version import __version__

IR_VERSION = 10
KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft", DOMAIN)
_NEWER_IR = {22: 10, 23: 11, 24: 12, 25: 12, 26: 13}  # the first that knows the opset's types


def ir_version(opset: int) -> int:
    """10, which every runtime of today reads, unless the opset is newer than that."""
    return _NEWER_IR.get(opset, IR_VERSION if opset <= 26 else 13)


def element_type(dtype: Any) -> int:
    """ONNX's number for a dtype."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def tensor(name: str, array: Any) -> onnx.TensorProto:
    """An array as a message. Holds a copy."""
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name)


def subgraphs(node: Node) -> Iterator[Block]:
    """The bodies that a node holds."""
    return (v for v in node.attrs.values() if isinstance(v, Block))


def reads(block: Block) -> Iterator[str]:
    """Names that a subgraph reads, its own too."""
    for node in block.nodes:
        yield from (x.name for x in node.inputs if x is not None)
        for inner in subgraphs(node):
            yield from reads(inner)
    yield from (x.name for x in block.outputs)


def live(nodes: Sequence[Node], outputs: Sequence[Val]) -> list[Node]:
    """The nodes that these outputs need, in order; those in subgraphs too."""
    needed = {v.name for v in outputs}
    kept = []
    for node in reversed(nodes):
        if not any(o.name in needed for o in node.outputs):
            continue
        for inner in subgraphs(node):
            inner.nodes = live(inner.nodes, inner.outputs)
            needed.update(reads(inner))
        needed.update(x.name for x in node.inputs if x is not None)
        kept.append(node)
    return kept[::-1]


class Finished:
    """A graph with its interface: what a ModelProto is made of, weights apart."""

    def __init__(
        self, g: Graph, inputs: Sequence[Val], outputs: Sequence[Val], names: Sequence[str]
    ) -> None:
        self.opset = g.opset
        self.domains = dict(g.domains)
        self.random = g.random
        self.metadata: dict[str, str] = {}
        self.axes: dict[str, str] = {}  # other names of symbolic sizes
        self.inputs = list(inputs)
        self.outputs = self._named(g, list(outputs), names)
        self.nodes = live([*g.first.nodes, *g.main.nodes], self.outputs)
        used = {x.name for x in self.outputs}
        for node in self.nodes:
            used.update(x.name for x in node.inputs if x is not None)
            for inner in subgraphs(node):
                used.update(reads(inner))
        self.initializers = {n: a for n, a in g.initializers.items() if n in used}
        self.quantised = any(node.op == "QuantizeLinear" for node in self.nodes)
        self.functions: list[onnx.FunctionProto] = list(g.functions.values())

    def fold(self, classes: Any) -> None:
        """Make local functions of the calls of modules: of all classes (True), or of these."""
        opsets = [*self._opsets(), helper.make_opsetid(DOMAIN, 1)]
        made = Functions(classes, message)
        outputs = {v.name for v in self.outputs}
        self.nodes = live(made.folded(self.nodes, outputs, opsets), self.outputs)
        self.functions += made.made.values()
        if made.made:
            self.domains[DOMAIN] = 1

    @property
    def foreign(self) -> bool:
        """Are there nodes that only somebody else's runtime knows?"""
        own = {f.domain for f in self.functions}
        return any(n.domain not in own and n.domain not in KNOWN_DOMAINS for n in self.nodes)

    def values(self) -> dict[str, Val]:
        """What nodes make, by name."""
        return {o.name: o for node in self.nodes for o in node.outputs}

    def _opsets(self) -> list[onnx.OperatorSetIdProto]:
        opsets = [helper.make_opsetid("", self.opset)]
        return opsets + [helper.make_opsetid(d, v) for d, v in sorted(self.domains.items())]

    def _named(self, g: Graph, outputs: list[Val], names: Sequence[str]) -> list[Val]:
        """The outputs under their names; what is no node's own output gets a node."""
        made = {o.name: o for node in g.main.nodes for o in node.outputs}
        found: dict[str, Val] = {}
        for out in map(g.full, outputs):
            own = made.get(out.name)
            if own is None or own.name in found:
                own = g.op("Identity", out, shape=out.shape)
            own.shape = own.held = out.shape
            found[own.name] = own
        called = dict(zip(found, names, strict=True))
        renamed: set[int] = set()
        for value in _values(g.main):
            if id(value) not in renamed:
                renamed.add(id(value))
                value.name = called.get(value.name, value.name)
        return list(found.values())

    def model(self, weights: bool = True, inputs_too: bool = False) -> onnx.ModelProto:
        """The whole. weights: initialisers with their contents; inputs_too: inputs as well."""
        initializers = list(self.initializers.items())
        own = {v.name for v in self.inputs}
        extra = [_info(n, a.dtype, a.shape) for n, a in initializers if inputs_too and n not in own]
        graph = helper.make_graph(
            [message(n) for n in self.nodes],
            "main_graph",
            [*(_info(v.name, v.dtype, v.shape) for v in self.inputs), *extra],
            [_info(v.name, v.dtype, v.shape) for v in self.outputs],
            [tensor(n, a) for n, a in initializers] if weights else [],
            value_info=list(self._value_infos()),
        )
        return self._model(graph)

    def _model(self, graph: onnx.GraphProto) -> onnx.ModelProto:
        made = helper.make_model(
            graph,
            functions=self.functions,
            opset_imports=self._opsets(),
            ir_version=ir_version(self.opset),
            producer_name="funtorch",
            producer_version=__version__,
        )
        helper.set_model_props(made, self.metadata)
        if self.axes:
            rename_axes(made.graph, self.axes)
        return made

    def _value_infos(self) -> Iterator[onnx.ValueInfoProto]:
        outputs = {v.name for v in self.outputs}
        for node in self.nodes:
            for out in node.outputs:
                if out.name not in outputs and out.held is not None and node.op != "Constant":
                    yield _info(out.name, out.dtype, out.held)


def _values(block: Block) -> Iterator[Val]:
    """Every value that occurs in a block; some repeatedly."""
    for node in block.nodes:
        yield from (x for x in node.inputs if x is not None)
        yield from node.outputs
        for inner in subgraphs(node):
            yield from _values(inner)
    yield from block.outputs


def _info(name: str, dtype: Any, shape: Any) -> onnx.ValueInfoProto:
    dims = None if shape is None else [n if isinstance(n, int) else str(n) for n in shape]
    return helper.make_tensor_value_info(name, element_type(dtype), dims)


def message(node: Node) -> onnx.NodeProto:
    """A node with its metadata."""
    made = onnx.NodeProto()
    made.op_type, made.domain = node.op, node.domain
    made.name = f"node_{node.outputs[0].name}"
    made.input.extend("" if x is None else x.name for x in node.inputs)
    made.output.extend(x.name for x in node.outputs)
    for key, value in node.attrs.items():
        made.attribute.append(_attribute(key, value))
    told = {} if node.origin is None else _metadata(node.origin)
    for key, value in {**told, **node.metadata}.items():
        made.metadata_props.add(key=key, value=value)
    return made


def _attribute(key: str, value: Any) -> onnx.AttributeProto:
    if isinstance(value, Block):
        return helper.make_attribute(key, _subgraph(key, value))
    if isinstance(value, np.ndarray):
        return helper.make_attribute(key, tensor("", value))
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return helper.make_attribute(key, element_type(value))
    if isinstance(value, list | tuple) and not value:
        return helper.make_attribute(key, value, attr_type=onnx.AttributeProto.INTS)
    return helper.make_attribute(key, value)


def _subgraph(name: str, block: Block) -> onnx.GraphProto:
    return helper.make_graph(
        [message(n) for n in block.nodes],
        name,
        [_info(v.name, v.dtype, v.shape) for v in block.inputs],
        [_info(v.name, v.dtype, v.shape) for v in block.outputs],
    )


def rename_axes(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Other names for symbolic sizes, also within expressions."""

    def renamed(text: str) -> str:
        return re.sub(r"[^\W\d]\w*", lambda m: names.get(m.group(), m.group()), text)

    for info in (*graph.input, *graph.output, *graph.value_info):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, renamed(dim.dim_param))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename_axes(attribute.g, names)


def _metadata(origin: Any) -> Mapping[str, str]:
    """In the form of torch.onnx, so that tools that read it work here too."""
    found = {
        "namespace": "/".join(
            f"{n}: {c}" for n, c in zip(origin.names, origin.classes, strict=True)
        ),
        "pkg.torch.onnx.name_scopes": repr([*origin.names, origin.op]),
        "pkg.torch.onnx.class_hierarchy": repr([*origin.classes, origin.op]),
    }
    if origin.line:
        found["pkg.torch.onnx.stack_trace"] = origin.line
    return found
