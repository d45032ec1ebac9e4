"""Loaded models written by their own nodes, with their present weights.

For those that cannot be captured: strings, and shapes that depend on values, are the host's business.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from funtorch.grad_mode import no_grad
from funtorch.onnx.module import OnnxModule
from funtorch.onnx.writing import check
from funtorch.onnx.writing.program import ONNXProgram, as_arrays
from funtorch.onnx.writing.proto import KNOWN_DOMAINS, rename_axes, tensor

_DRAWING = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
            "RandomUniformLike")  # fmt: skip


class Named(NamedTuple):
    """An input or output. dtype: None where it is no tensor of numbers."""

    name: str
    dtype: np.dtype[Any] | None


class Kept:
    """What `Finished` is for captured models: the interface of the graph, and messages of it."""

    def __init__(self, module: OnnxModule) -> None:
        self._proto = proto = module.graph_proto
        self.opset = module.opset
        self.axes: dict[str, str] = {}  # other names of symbolic sizes
        self.initializers = module.present_weights()
        self.inputs = [_named(i) for i in proto.graph.input if i.name in module.input_names]
        self.outputs = [_named(o) for o in proto.graph.output]
        self.nodes = list(every(proto.graph.node))
        kinds = {n.op_type for n in self.nodes}
        self.random = not kinds.isdisjoint(_DRAWING)
        self.quantised = "QuantizeLinear" in kinds
        own = {f.domain for f in proto.functions}
        self.foreign = any(
            n.domain not in own and n.domain not in KNOWN_DOMAINS for n in self.nodes
        )

    def values(self) -> dict[str, Named]:
        """What can be asked for by name: the outputs."""
        return {o.name: o for o in self.outputs}

    def model(self, weights: bool = True, inputs_too: bool = False) -> onnx.ModelProto:
        """The whole. weights: initialisers with their contents."""
        made = onnx.ModelProto()
        made.CopyFrom(self._proto)
        if weights:
            made.graph.initializer.extend(tensor(n, a) for n, a in self.initializers.items())
        if inputs_too:
            known = {i.name for i in made.graph.input}
            made.graph.input.extend(
                onnx.helper.make_tensor_value_info(
                    n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape
                )
                for n, a in self.initializers.items()
                if n not in known
            )
        rename_axes(made.graph, self.axes)
        return made


def _named(info: onnx.ValueInfoProto) -> Named:
    kind = info.type.tensor_type.elem_type
    numeric = kind not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
    return Named(info.name, np.dtype(tensor_dtype_to_np_dtype(kind)) if numeric else None)


def every(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from every(attribute.g.node)


def by_own_nodes(
    module: OnnxModule, args: tuple[Any, ...], kwargs: dict[str, Any], verify: bool, why: Exception
) -> ONNXProgram:
    """A loaded model as the file has it, with its present weights; a warning says so.

    verify: as for `export`. Raises what the model raises on these arguments.
    """
    reason = str(why).splitlines()[0] if str(why) else type(why).__name__
    warnings.warn(
        f"written by the model's own nodes, since it was not captured: {reason}", stacklevel=3
    )
    finished = Kept(module)
    order = [i.name for i in finished.inputs]

    def flat(args: Any, kwargs: Any) -> list[Any]:
        given = dict(zip(module.input_names, args, strict=False)) | dict(kwargs)
        return [as_arrays(given[n]) for n in order]

    program = ONNXProgram(finished, None, flat)
    check.checked(program)
    if verify and not finished.foreign:
        with no_grad():
            wanted = as_arrays(module.run(args, kwargs))
        check.compared(program, dict(zip(order, flat(args, kwargs), strict=True)), wanted)
        program.release()
    return program
