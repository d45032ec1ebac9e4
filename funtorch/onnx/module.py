"""`load`: an ONNX model as an `nn.Module` whose forward runs the plan of the graph.

Values are funtorch tensors; NumPy arrays where they are known on the host (shapes, strings, types
of fewer than eight bits); lists for sequences; None for optionals without a value.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import onnx

from funtorch import dtypes, nn
from funtorch.dispatch import to_host
from funtorch.onnx.folding import NeedsHost
from funtorch.onnx.graph import Plan, Reader, host_names, opsets_of, plans
from funtorch.onnx.walk import SMALL, Walk
from funtorch.tensor import Tensor, from_host


def load(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> OnnxModule:
    """A trainable module from a model, its file, or the bytes of one.

    It comes in `eval()` mode and then computes what the file says; after `train()`, Dropout nodes
    that leave the choice open drop. BatchNormalization keeps its statistics unless the node says
    `training_mode`.
    Raises UnsupportedNodes, which names every node without a rule.
    """
    if isinstance(source, onnx.ModelProto):
        model = source
    elif isinstance(source, bytes):
        model = onnx.load_from_string(source)
    else:
        model = onnx.load(source)
    return OnnxModule(model).eval()


class OnnxModule(nn.Module):
    """A loaded model. Floating-point initialisers are Parameters, all others buffers.

    trainable: names of those that become Parameters, if not all.
    """

    def __init__(self, model: onnx.ModelProto, trainable: Collection[str] | None = None) -> None:
        super().__init__()
        plan = Reader(model).plan
        self._plan = plan
        self.graph_proto = without_weights(model)
        self.input_names = [n for n in plan.inputs if n not in plan.constants]
        self.output_names = list(plan.outputs)
        self._defaults = [n for n in plan.inputs if n in plan.constants]
        self._places: dict[str, tuple[nn.Module, str]] = {}
        self._constants: dict[Any, tuple[Any, Tensor]] = {}
        self._lasting = {id(a) for p in plans(plan) for a in (*p.constants.values(), *p.values())}
        shapes = host_names(plan)
        for name, array in plan.constants.items():
            chosen = name not in shapes and (trainable is None or name in trainable)
            self._adopt(name, array, trainable=chosen)

    def _adopt(self, name: str, array: np.ndarray[Any, Any], trainable: bool) -> None:
        """Keep an initialiser under its ONNX name; dots lead into submodules, as in state_dict."""
        if not _fits(array):
            return
        owner: nn.Module = self
        *path, leaf = name.split(".")
        if any(not part for part in (*path, leaf)):
            path, leaf = [], name.replace(".", "_")
        for part in path:
            if part not in owner._modules:
                if hasattr(owner, part):
                    part += "_"
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        if hasattr(owner, leaf):
            leaf += "_"
        tensor = from_host(np.ascontiguousarray(array).reshape(array.shape))
        if trainable and tensor.is_floating_point() and tensor.dtype.itemsize > 1:
            owner.register_parameter(leaf, nn.Parameter(tensor))
        else:
            owner.register_buffer(leaf, tensor)
        self._places[name] = (owner, leaf)

    @property
    def opset(self) -> int:
        """The version of ONNX's own ops."""
        return opsets_of(self.graph_proto.opset_import).get("", 1)

    @property
    def model_proto(self) -> onnx.ModelProto:
        """The model as it was read, with the present weights."""
        made = onnx.ModelProto()
        made.CopyFrom(self.graph_proto)
        arrays = self.present_weights().items()
        made.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in arrays)
        return made

    def present_weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """The initialisers' present contents by name. Not copies."""
        held = {n: as_arrays(self.initializer(n)) for n in self._places}
        return {**self._plan.constants, **held}

    def initializer(self, name: str) -> Tensor:
        """The Parameter or buffer that holds the initialiser of this name."""
        owner, leaf = self._places[name]
        return getattr(owner, leaf)  # type: ignore[no-any-return]

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Outputs for inputs in the graph's order or by name: one value, or a tuple of several."""
        outputs = self.run(inputs, named)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _device(self, values: list[Any]) -> Any:
        """Where constants go: to the weights, or without any to the inputs."""
        found = [v.device for v in reversed(values) if isinstance(v, Tensor)]
        return found[0] if found else None

    def run(self, inputs: Any, named: dict[str, Any]) -> list[Any]:
        """The graph's outputs, as a list."""
        names = [*self.input_names, *self._defaults]
        if len(inputs) > len(names):
            raise TypeError(f"the model takes {len(names)} inputs, but {len(inputs)} were given")
        given = dict(zip(names, inputs, strict=False)) | named
        unknown = sorted(set(given) - set(names))
        lacking = [n for n in self.input_names if n not in given]
        if unknown or lacking:
            raise TypeError(f"inputs missing: {lacking}; not inputs of the model: {unknown}")
        run = Run(self, self._device([*given.values(), *self.parameters(), *self.buffers()]))
        env = run.constants(self._plan)
        env.update({n: run.taken(v) for n, v in given.items()})
        return run.plan(self._plan, env)


class Run(Walk):
    """One forward pass, and the `ctx` of the rules: what is known on the host, and subgraphs."""

    def __init__(self, module: OnnxModule, device: Any) -> None:
        super().__init__()
        self.module = module
        self.known: dict[int, tuple[Tensor, np.ndarray[Any, Any]]] = {}
        self.fresh: dict[Any, tuple[Any, Tensor]] = {}
        self.device = device
        self.folded = 0

    # Values -------------------------------------------------------------------------------------

    def taken(self, value: Any) -> Any:
        """An input. Arrays become tensors; such as may be shapes stay what they are."""
        if isinstance(value, list | tuple):
            return [self.taken(v) for v in value]
        if isinstance(value, dict | Tensor) or value is None:
            return value
        array = np.asarray(value)
        shape_like = array.ndim == 0 or (array.dtype.kind in "iub" and array.size <= SMALL)
        if shape_like or not _fits(array):
            return array
        tensor = from_host(np.array(array), device=self.device)
        self.known[id(tensor)] = (tensor, array)
        return tensor

    def constants(self, plan: Plan) -> dict[str, Any]:
        """Initialisers: Parameters and buffers; shapes stay arrays, since rules read them."""
        env: dict[str, Any] = {}
        for name, array in plan.constants.items():
            place = self.module._places.get(name)
            if place is None or plan is not self.module._plan:
                env[name] = array
                continue
            tensor = getattr(*place)
            if array.dtype.kind in "iub" and array.size <= SMALL:
                self.fresh[id(array), self.device] = (array, tensor)
                env[name] = array
            else:
                env[name] = tensor
        return env

    def tensor(self, value: Any) -> Any:
        """The value as a tensor, on the device of the model."""
        if not isinstance(value, np.ndarray | np.generic):
            return value
        key = (id(value), self.device)
        for memo in (self.fresh, self.module._constants):
            if key in memo and memo[key][0] is value:
                return memo[key][1]
        array = np.asarray(value)
        if array.dtype == object:
            raise TypeError(f"{self.where()}: strings have no rule on the device")
        made = from_host(np.array(array), device=self.device)
        lasting = id(value) in self.module._lasting and not self.folded
        memo = self.module._constants if lasting else self.fresh
        memo[key] = (value, made)
        return made

    def host(self, value: Any) -> Any:
        """The value as a NumPy array; waits for it if it has to be computed."""
        if not isinstance(value, Tensor):
            return value
        found = self.known.get(id(value))
        if found is None:
            if self.folded:
                raise NeedsHost
            found = self.known[id(value)] = (value, np.asarray(to_host(value.detach())))
        return found[1]

    def dtype_of(self, tensor: Tensor) -> np.dtype[Any]:
        """The NumPy type of a tensor."""
        return tensor.dtype.numpy  # type: ignore[no-any-return]

    def lives_on_host(self, array: np.ndarray[Any, Any]) -> bool:
        """Is there no funtorch dtype for it?"""
        return not _fits(array)

    def is_known(self, value: Tensor) -> bool:
        """Can it be read without computing anything?"""
        return id(value) in self.known

    @contextlib.contextmanager
    def folding(self) -> Iterator[None]:
        """While a subgraph is traced: nothing may be read, and its constants stay its own."""
        fresh, self.fresh = self.fresh, dict(self.fresh)
        state = self.env, self.now, self.step
        self.folded += 1
        try:
            yield
        finally:
            self.folded -= 1
            self.fresh = fresh
            self.env, self.now, self.step = state


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of all but the initialisers."""
    made = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy_field(made, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name not in ("initializer", "sparse_initializer"):
            _copy_field(made.graph, field.name, value)
    return made


def _copy_field(to: Any, name: str, value: Any) -> None:
    if isinstance(value, str | bytes | int):
        setattr(to, name, value)
    else:
        getattr(to, name).MergeFrom(value)


def as_arrays(value: Any) -> Any:
    """Tensors as arrays, within lists too."""
    if isinstance(value, list | tuple):
        return [as_arrays(v) for v in value]
    return np.asarray(to_host(value.detach())) if isinstance(value, Tensor) else value


def _fits(array: np.ndarray[Any, Any]) -> bool:
    """Is there a funtorch dtype for it?"""
    try:
        dtypes.of(array.dtype)
    except TypeError:
        return False
    return True
