"""A module's two modes as ONNX: what it computes after eval(), and what it computes in training."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
import onnx

from funtorch.bridge import in_mode, to_jax
from funtorch.dispatch import to_host
from funtorch.nn.module import Module
from funtorch.onnx import export
from funtorch.onnx.writing.training import STATE
from funtorch.tensor import Tensor


def exported(model: Module, args: Any, options: Any) -> tuple[onnx.ModelProto, Any, bool]:
    """(the graph after eval(), the graph of training or None if it is the same, does that draw).

    The graph of training has the new state among its outputs, and says which in its metadata.
    """
    with in_mode(model, True):
        try:
            trained, draws = _with_state(model, args, options)
        except Exception as error:
            error.add_note(
                "while writing what it does in training, which training=False leaves out"
            )
            raise
    with in_mode(model, False):
        proto = export(model, args, **options).model_proto
    same = _nodes(trained) == _nodes(proto)
    return proto, None if same else trained, draws


def _with_state(model: Module, args: Any, options: Any) -> tuple[onnx.ModelProto, bool]:
    names: list[str] = []

    def add_state(module: Module, inputs: Any, result: Any) -> Any:
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        names[:] = state
        return result, list(state.values())

    hook = model.register_forward_hook(add_state)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the model changes its state")
            program = export(model, args, **options)
    finally:
        hook.remove()
    proto = program.model_proto
    count = len(program.output_names) - len(names)
    settle(proto, dict(zip(names, program.output_names[count:], strict=True)))
    return proto, program.random


def settle(proto: onnx.ModelProto, state: dict[str, str]) -> None:
    """Drops outputs that are the state as it was, and notes which are its new values."""
    graph = proto.graph
    copies = {(n.input[0], n.output[0]) for n in graph.node if n.op_type == "Identity"}
    news = {name: output for name, output in state.items() if (name, output) not in copies}
    same = set(state.values()) - set(news.values())
    nodes = [n for n in graph.node if n.output[0] not in same]
    outputs = [o for o in graph.output if o.name not in same]
    read = {*_read(nodes), *news}
    weights = [t for t in graph.initializer if t.name in read]
    del graph.node[:], graph.output[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.output.extend(outputs)
    graph.initializer.extend(weights)
    if news:
        proto.metadata_props.add(key=STATE, value=json.dumps(news))


def _read(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """What nodes and the graphs within them read."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from (o.name for o in attribute.g.output)
            yield from _read(attribute.g.node)


def _nodes(proto: onnx.ModelProto) -> list[Any]:
    """What a graph computes, without where it comes from."""
    return [
        (n.op_type, n.input[:], n.output[:], [a.SerializeToString() for a in n.attribute])
        for n in proto.graph.node
    ]


def in_training(model: Module, args: Any) -> tuple[list[Any], dict[str, Any]]:
    """(outputs, new buffers) of the module in training, as arrays. Its state stays as it is."""
    arrays = jax.tree.map(lambda a: to_host(a.detach()) if isinstance(a, Tensor) else a, args)
    with in_mode(model, True):
        pure, params = to_jax(model)
        result, news = jax.jit(lambda p: pure(p, *arrays, mutable=True))(params)
    return jax.tree.leaves(result), {n: np.asarray(v) for n, v in news.items()}
