"""`load`: an ONNX model as an `nn.Module` whose forward runs the plan of the graph.

Values are funtorch tensors; NumPy arrays where they are known on the host (shapes, strings, types
of fewer than eight bits); lists for sequences; None for optionals without a value.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from funtorch import dtypes, nn
from funtorch.dispatch import to_host
from funtorch.onnx.folding import NeedsHost
from funtorch.onnx.graph import Plan, Reader, Step, plans
from funtorch.onnx.rules import HOST
from funtorch.tensor import Tensor, from_host

_WIDER = {"int4": np.int8, "uint4": np.uint8, "int2": np.int8, "uint2": np.uint8,
          "float4_e2m1fn": np.float32}  # fmt: skip
SMALL = 4096  # elements up to which integers are taken to be shapes


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
    """A loaded model. Floating-point initialisers are Parameters, all others buffers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        reader = Reader(model)
        plan = reader.plan
        self._plan = plan
        self.input_names = [n for n in plan.inputs if n not in plan.constants]
        self.output_names = list(plan.outputs)
        self._defaults = [n for n in plan.inputs if n in plan.constants]
        self._places: dict[str, tuple[nn.Module, str]] = {}
        self._constants: dict[Any, tuple[Any, Tensor]] = {}
        self._lasting = {id(a) for p in plans(plan) for a in (*p.constants.values(), *p.values())}
        shapes = _host_names(plan)
        for name, array in plan.constants.items():
            self._adopt(name, array, trainable=name not in shapes)

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


class Run:
    """One forward pass, and the `ctx` of the rules: what is known on the host, and subgraphs."""

    def __init__(self, module: OnnxModule, device: Any) -> None:
        self.module = module
        self.known: dict[int, tuple[Tensor, np.ndarray[Any, Any]]] = {}
        self.fresh: dict[Any, tuple[Any, Tensor]] = {}
        self.device = device
        self.env: dict[str, Any] = {}
        self.step: Step | None = None
        self.now: Plan | None = None
        self.folded = 0

    # Values -------------------------------------------------------------------------------------

    def taken(self, value: Any) -> Any:
        """An input: arrays become tensors whose contents stay known on the host."""
        if isinstance(value, list | tuple):
            return [self.taken(v) for v in value]
        if isinstance(value, dict | Tensor) or value is None:
            return value
        array = np.asarray(value)
        if not _fits(array):
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
        wide = _WIDER.get(array.dtype.name)
        if wide is not None:
            array = array.astype(wide)
        if array.dtype == object:
            raise TypeError(f"{self._where()}: strings have no rule on the device")
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

    # Running ------------------------------------------------------------------------------------

    def plan(self, plan: Plan, env: dict[str, Any]) -> list[Any]:
        """Run a plan; returns its outputs."""
        before, self.env = self.env, env
        around, self.now = self.now, plan
        try:
            for step in plan.steps:
                self._store(step, self._call(step), env)
                for name in step.dead:
                    env.pop(name, None)
            # A function's body may leave optional outputs unmade: then nobody asked for them.
            return [env.get(name) for name in plan.outputs]
        finally:
            self.env, self.now = before, around

    def subgraph(self, plan: Plan, inputs: Any = ()) -> list[Any]:
        """Run a subgraph of the present step: it sees the values around it."""
        step = self.step
        env = dict(self.env)
        env.update(self.constants(plan))
        env.update(zip(plan.inputs, inputs, strict=False))
        outputs = self.plan(plan, env)
        self.step = step
        return outputs

    def again(self, name: str, given: dict[str, Any]) -> Any:
        """A value of the present plan, computed from other values than it was."""
        assert self.now is not None
        plan, wanted, steps = self.now, {name}, []
        for step in reversed(plan.steps):
            if wanted & (set(step.outputs) - given.keys()):
                steps.append(step)
                wanted |= set(step.inputs)
        part = Plan(plan.inputs, [name])
        part.steps = steps[::-1]
        return self.plan(part, {**self.env, **given})[0]

    def _store(self, step: Step, result: Any, env: dict[str, Any]) -> None:
        if not isinstance(result, tuple):
            result = (result,)
        for name, value in zip(step.outputs, result, strict=False):
            if name:
                env[name] = value

    def _call(self, step: Step) -> Any:
        inputs = [self.env[name] if name else None for name in step.inputs]
        if step.body is not None or step.typed is not None:
            return self._function(step, inputs)
        self.step = step
        rule = step.rule
        assert rule is not None
        if step.host_rule and inputs and all(_is_small(v) for v in inputs):
            on_host = HOST.get(step.op)
            if on_host is not None:
                made = on_host(*inputs, opset=step.opset, **step.attributes)
                if made is not NotImplemented:
                    return made
        if not rule.raw:
            inputs = [
                self.host(v) if i in rule.host else self.tensor(v) for i, v in enumerate(inputs)
            ]
        return self._apply(step, inputs)

    def _apply(self, step: Step, inputs: list[Any]) -> Any:
        rule = step.rule
        assert rule is not None
        if rule.attributes is not None and not step.attributes.keys() <= rule.attributes:
            unknown = sorted(step.attributes.keys() - rule.attributes)
            raise NotImplementedError(f"{self._where()}: attributes {unknown} are not supported")
        while inputs and inputs[-1] is None:
            inputs.pop()
        try:
            if rule.ctx:
                return rule.fn(*inputs, ctx=self, **step.attributes)
            return rule.fn(*inputs, **step.attributes)
        except Exception as error:
            error.add_note(f"in the ONNX op {step.op} of {step.label}")
            raise

    def _function(self, step: Step, inputs: list[Any]) -> Any:
        body = step.body
        if body is None:
            assert step.typed is not None
            body = step.typed([type_of(v) for v in inputs])
        env = dict.fromkeys(body.inputs)
        env.update(zip(body.inputs, inputs, strict=False))
        return tuple(self.plan(body, env))

    @property
    def opset(self) -> int:
        """The opset version of the present step."""
        assert self.step is not None
        return self.step.opset

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of the present step; '' for those that nobody wants."""
        assert self.step is not None
        return self.step.outputs

    def dtype(self, element: int) -> np.dtype[Any]:
        """The NumPy type of an ONNX element type."""
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))

    def _where(self) -> str:
        return f"{self.step.op} ({self.step.label})" if self.step else "the model"


def _is_small(value: Any) -> bool:
    """Known on the host, and either a shape or the like, or of a type that only lives there."""
    return isinstance(value, np.ndarray) and (value.size <= SMALL or not _fits(value))


def _fits(array: np.ndarray[Any, Any]) -> bool:
    """Is there a funtorch dtype for it?"""
    try:
        dtypes.of(array.dtype)
    except TypeError:
        return False
    return True


def _host_names(plan: Plan) -> set[str]:
    """Names that rules read on the host: shapes, scales of Resize, and the like."""
    return {
        name
        for step in plan.steps
        if step.rule is not None
        for i, name in enumerate(step.inputs)
        if i in step.rule.host
    }


def type_of(value: Any) -> onnx.TypeProto:
    """The ONNX type of a value."""
    if value is None:
        return onnx.TypeProto()
    if isinstance(value, list):
        inner = type_of(value[0]) if value else onnx.helper.make_tensor_type_proto(1, None)
        return onnx.helper.make_sequence_type_proto(inner)
    dtype = value.dtype.numpy if isinstance(value, Tensor) else value.dtype
    element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return onnx.helper.make_tensor_type_proto(element, tuple(value.shape))
