"""Running a plan: steps in order, inputs made as their rules want them, errors that say where.

Values are tensors of the framework; NumPy arrays where they are known on the host; lists for
sequences; None for optionals without a value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import onnx

from funtorch.onnx.graph import Plan, Step
from funtorch.onnx.rules import HOST

SMALL = 4096  # elements up to which integers are taken to be shapes


class Walk(ABC):
    """One pass over a model, and the `ctx` of the rules. What a tensor is, subclasses know."""

    def __init__(self) -> None:
        self.env: dict[str, Any] = {}
        self.step: Step | None = None
        self.now: Plan | None = None

    @abstractmethod
    def constants(self, plan: Plan) -> dict[str, Any]:
        """The values of a plan's initialisers."""

    @abstractmethod
    def tensor(self, value: Any) -> Any:
        """The value as a tensor."""

    @abstractmethod
    def host(self, value: Any) -> Any:
        """The value as a NumPy array."""

    @abstractmethod
    def dtype_of(self, tensor: Any) -> np.dtype[Any]:
        """The NumPy type of a tensor."""

    @abstractmethod
    def lives_on_host(self, array: np.ndarray[Any, Any]) -> bool:
        """Is it of a type that the framework's tensors cannot have?"""

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

    def made(self, value: Any) -> Any:
        """A result as it is kept."""
        return value

    def _store(self, step: Step, result: Any, env: dict[str, Any]) -> None:
        if not isinstance(result, tuple):
            result = (result,)
        for name, value in zip(step.outputs, result, strict=False):
            if name:
                env[name] = self.made(value)

    def _call(self, step: Step) -> Any:
        inputs = [self.env[name] if name else None for name in step.inputs]
        if step.body is not None or step.typed is not None:
            return self._function(step, inputs)
        self.step = step
        rule = step.rule
        assert rule is not None
        if step.host_rule and inputs and all(self._is_small(v) for v in inputs):
            on_host = HOST.get(step.op)
            if on_host is not None:
                made = on_host(*inputs, opset=step.opset, **step.attributes)
                if made is not NotImplemented:
                    return made
        return self._apply(step, inputs)

    def _apply(self, step: Step, inputs: list[Any]) -> Any:
        rule = step.rule
        assert rule is not None
        if rule.attributes is not None and not step.attributes.keys() <= rule.attributes:
            unknown = sorted(step.attributes.keys() - rule.attributes)
            raise NotImplementedError(f"{self.where()}: attributes {unknown} are not supported")
        while inputs and inputs[-1] is None:
            inputs.pop()
        try:
            if not rule.raw:
                inputs = [
                    self.host(v) if i in rule.host else self.tensor(v) for i, v in enumerate(inputs)
                ]
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
            body = step.typed([self.type_of(v) for v in inputs])
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

    def where(self) -> str:
        """The present step, for errors."""
        return f"{self.step.op} ({self.step.label})" if self.step else "the model"

    def _is_small(self, value: Any) -> bool:
        """Known on the host, and a shape or the like, or of a type that only lives there."""
        if not isinstance(value, np.ndarray):
            return False
        return value.size <= SMALL or self.lives_on_host(value)

    def type_of(self, value: Any) -> onnx.TypeProto:
        """The ONNX type of a value."""
        if value is None:
            return onnx.TypeProto()
        if isinstance(value, list):
            if value:
                return onnx.helper.make_sequence_type_proto(self.type_of(value[0]))
            return onnx.helper.make_sequence_type_proto(
                onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
            )
        on_host = isinstance(value, np.ndarray)
        element = onnx.helper.np_dtype_to_tensor_dtype(
            value.dtype if on_host else self.dtype_of(value)
        )
        return onnx.helper.make_tensor_type_proto(element, tuple(value.shape))
