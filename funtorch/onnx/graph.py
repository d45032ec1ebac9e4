"""ONNX protos read once: nodes become steps that know their rule, values and last uses.

Ops which ONNX defines as functions, in the model or in its schema, become plans of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

from funtorch.onnx.rules import DOMAINS, RULES, Rule, Table, UnsupportedNodes

Opsets = dict[str, int]
LEGACY = {"consumed_inputs"}  # a hint to allocators before opset 6


class Step:
    """One node: what to call, with which values, and which of them die there.

    body: for functions, the plan to run instead; typed: makes it once the input types are known.
    """

    __slots__ = ("attributes", "body", "dead", "host_rule", "inputs", "label", "op", "opset",
                 "outputs", "rule", "typed")  # fmt: skip

    def __init__(self, node: onnx.NodeProto, opset: int) -> None:
        self.op = node.op_type
        self.opset = opset
        self.label = place_of(node)
        self.inputs = list(node.input)
        self.outputs = list(node.output)
        self.attributes: dict[str, Any] = {}
        self.rule: Rule | None = None
        self.host_rule = False
        self.body: Plan | None = None
        self.typed: Callable[[Any], Plan] | None = None
        self.dead: list[str] = []


def place_of(node: onnx.NodeProto) -> str:
    """A node for an error: its name, and the module and line it was written from if it says so."""
    label = node.name or f"the node that makes {', '.join(node.output)!r}"
    known = {p.key: p.value for p in node.metadata_props}
    parts = [known.get("namespace"), known.get("pkg.torch.onnx.stack_trace", "").strip()]
    said = ", ".join(part for part in parts if part)
    return f"{label} ({said})" if said else label


class Plan:
    """A graph or a function body: names of inputs and outputs, constants, steps in order."""

    def __init__(self, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.steps: list[Step] = []
        self.free: set[str] = set()  # names that come from the graph around

    def settle(self, uses: Sequence[set[str]]) -> None:
        """Find out which names come from outside, and where each value is used last."""
        made = set(self.inputs) | set(self.constants)
        last: dict[str, int] = {}
        for index, (step, used) in enumerate(zip(self.steps, uses, strict=True)):
            self.free |= {name for name in used if name not in made}
            made |= set(step.outputs)
            last.update(dict.fromkeys([*used, *step.outputs], index))
        self.free |= {name for name in self.outputs if name not in made}
        if any(step.op == "Gradient" for step in self.steps):
            return  # it computes values again, from any that came before
        for name, index in last.items():
            if name and name not in self.outputs and name not in self.free:
                self.steps[index].dead.append(name)

    def values(self) -> Iterator[np.ndarray[Any, Any]]:
        """The arrays among the attributes: what Constant nodes hold."""
        for step in self.steps:
            yield from (v for v in step.attributes.values() if isinstance(v, np.ndarray))


def plans(plan: Plan) -> Iterator[Plan]:
    """A plan and all plans within it."""
    yield plan
    for step in plan.steps:
        for part in (*inner_plans(step), *([step.body] if step.body else [])):
            yield from plans(part)


def inner_plans(step: Step) -> list[Plan]:
    """The subgraphs of a step."""
    return [v for v in step.attributes.values() if isinstance(v, Plan)]


def host_names(plan: Plan) -> set[str]:
    """Names that rules read on the host: shapes, scales of Resize, and the like."""
    return {
        name
        for step in plan.steps
        if step.rule is not None
        for i, name in enumerate(step.inputs)
        if i in step.rule.host
    }


class Reader:
    """Reads one model. Collects what is missing, so that one error can tell it all."""

    def __init__(self, model: onnx.ModelProto, rules: Table = RULES) -> None:
        self.rules = rules
        self.opsets = opsets_of(model.opset_import)
        self.functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self.missing: list[tuple[str, str]] = []
        self.plan = self.graph(model.graph, self.opsets)
        if self.missing:
            raise UnsupportedNodes(self.missing, rules.target)

    def graph(self, graph: onnx.GraphProto, opsets: Opsets) -> Plan:
        """The plan of a graph or subgraph."""
        plan = Plan([i.name for i in graph.input], [o.name for o in graph.output])
        for tensor in graph.initializer:
            plan.constants[tensor.name] = numpy_helper.to_array(tensor)
        for sparse in graph.sparse_initializer:
            plan.constants[sparse.values.name] = dense(sparse)
        self._steps(plan, graph.node, opsets, {})
        return plan

    def function(self, proto: onnx.FunctionProto, node: onnx.NodeProto, opsets: Opsets) -> Plan:
        """The plan of a function's body, with this call's attributes in place."""
        given = {a.name: a for a in node.attribute}
        bound = {a.name: a for a in proto.attribute_proto} | given
        plan = Plan(proto.input, proto.output)
        own = opsets | opsets_of(proto.opset_import)
        self._steps(plan, proto.node, own, {n: bound.get(n) for n in (*proto.attribute, *bound)})
        return plan

    def _steps(
        self, plan: Plan, nodes: Iterable[onnx.NodeProto], opsets: Opsets, bound: dict[str, Any]
    ) -> None:
        uses = []
        for proto in nodes:
            node = bind(proto, bound) if bound else proto
            step = self._step(node, opsets)
            plan.steps.append(step)
            inner = inner_plans(step)
            uses.append({n for n in step.inputs if n}.union(*[p.free for p in inner]))
        plan.settle(uses)

    def _step(self, node: onnx.NodeProto, opsets: Opsets) -> Step:
        domain = DOMAINS.get(node.domain, node.domain)
        opset = opsets.get(domain, opsets.get("ai.onnx", 1) if domain == "" else 1)
        step = Step(node, opset)
        for attribute in node.attribute:
            if attribute.name not in LEGACY:
                step.attributes[attribute.name] = self.attribute(attribute, opsets)
        if domain == "" and node.op_type == "Constant":
            step.attributes = {"value": constant(**step.attributes)}
        local = self.functions.get((node.domain, node.op_type, node.overload))
        if local is not None:
            step.body = self.function(local, node, opsets)
            return step
        step.rule = self.rules.find(domain, node.op_type, opset)
        step.host_rule = domain == ""
        if step.rule is None:
            self._schema_function(step, node, domain, opset, opsets)
        return step

    def _schema_function(
        self, step: Step, node: onnx.NodeProto, domain: str, opset: int, opsets: Opsets
    ) -> None:
        """ONNX's own definition of an op by others, where it has one."""
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        try:
            schema = onnx.defs.get_schema(node.op_type, opset, domain)
        except onnx.defs.SchemaError:
            schema = None
        if schema is not None and schema.has_function:
            step.body = self.function(schema.function_body, _filled(kept, schema), opsets)
        elif schema is not None and schema.has_context_dependent_function:
            step.typed = lambda types: self._typed(schema, kept, types, opsets)
        else:
            name = f"{domain}.{node.op_type}" if domain else node.op_type
            self.missing.append((name, step.label))

    def _typed(self, schema: Any, node: onnx.NodeProto, types: Any, opsets: Opsets) -> Plan:
        """The body of a function that depends on the types of its inputs."""
        text = schema.get_context_dependent_function(
            node.SerializeToString(), [t.SerializeToString() for t in types]
        )
        plan = self.function(onnx.FunctionProto.FromString(text), node, opsets)
        if self.missing:
            missing, self.missing = self.missing, []
            raise UnsupportedNodes(missing, self.rules.target)
        return plan

    def attribute(self, attribute: AttributeProto, opsets: Opsets) -> Any:
        """An attribute as Python: numbers, strings, tuples, arrays, plans."""
        kind = attribute.type
        if kind == AttributeProto.GRAPH:
            return self.graph(attribute.g, opsets)
        if kind == AttributeProto.GRAPHS:
            return tuple(self.graph(g, opsets) for g in attribute.graphs)
        if kind == AttributeProto.TENSOR:
            return numpy_helper.to_array(attribute.t)
        if kind == AttributeProto.SPARSE_TENSOR:
            return dense(attribute.sparse_tensor)
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode()
        if kind == AttributeProto.STRINGS:
            return tuple(v.decode() for v in value)
        if kind in (AttributeProto.INTS, AttributeProto.FLOATS):
            return tuple(value)
        return value


def constant(**attributes: Any) -> Any:
    """The value of a Constant node as an array."""
    ((name, value),) = attributes.items()
    if name.startswith("value_float"):
        return np.array(value, np.float32)
    if name.startswith("value_int"):
        return np.array(value, np.int64)
    if name.startswith("value_string"):
        return np.array(value, object)
    return value


def opsets_of(imports: Iterable[Any]) -> Opsets:
    """{domain: version}, the default domain under ''."""
    return {DOMAINS.get(i.domain, i.domain): i.version for i in imports}


def _filled(node: onnx.NodeProto, schema: Any) -> onnx.NodeProto:
    """A call with the schema's default attributes written out."""
    present = {a.name for a in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in present and attribute.default_value.name:
            node.attribute.append(attribute.default_value)
    return node


def bind(node: onnx.NodeProto, bound: dict[str, Any]) -> onnx.NodeProto:
    """A node of a function's body, with references to attributes replaced, in subgraphs too."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    del made.attribute[:]
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            value = bound.get(attribute.ref_attr_name)
            if value is not None:
                made.attribute.append(value)
                made.attribute[-1].name = attribute.name
            continue
        made.attribute.append(attribute)
        if attribute.type == AttributeProto.GRAPH:
            inner = [bind(n, bound) for n in attribute.g.node]
            del made.attribute[-1].g.node[:]
            made.attribute[-1].g.node.extend(inner)
    return made


def dense(sparse: onnx.SparseTensorProto) -> np.ndarray[Any, Any]:
    """A sparse constant written out."""
    values, indices = (numpy_helper.to_array(t) for t in (sparse.values, sparse.indices))
    out = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 2:
        out[tuple(indices.T)] = values
    else:
        out.reshape(-1)[indices] = values
    return out
