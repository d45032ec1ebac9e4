"""An exported program as an FX graph: a node for each recorded op, by the dispatcher's names.

Placeholders come first: parameters, buffers, constants, the user's tensors, as in PyTorch; a program
that draws random numbers takes its key last. A symbolic size is a node that reads it from an input.
"""

from __future__ import annotations

import ast
import builtins
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from funtorch import dtypes, fx
from funtorch.dispatch import OpInfo, call
from funtorch.export.artifact import Leaf, Signature
from funtorch.export.build import Recording, placeholder
from funtorch.lowering import Instance, Op, instance, record
from funtorch.lowering.program import Step
from funtorch.lowering.symbolic import is_symbolic
from funtorch.ops import aten
from funtorch.ops._declare import TABLE
from funtorch.ops._signature import DTYPE
from funtorch.tensor import wrap

ORDER = ("param", "buffer", "optimizer", "constant", "lr", "input", "rng")
"""Roles of placeholders, as they follow each other in a graph."""
_PREFIX = {"param": "p_", "buffer": "b_", "constant": "c_", "optimizer": "o_"}
# Views as they are recorded -> (the dispatcher's name, its arguments after the tensor).
_VIEWS: dict[str, tuple[str, Callable[..., tuple[Any, ...]]]] = {
    **{n: (n, lambda *args: args) for n in ("view", "expand", "unsqueeze", "squeeze", "diagonal", "detach")},
    **{n: ("permute", lambda order: (order,)) for n in ("permute", "transpose", "t")},
    "select": ("select", lambda index, dim: (dim, index)),
    "slice": ("slice", lambda start, dim, n, step: (dim, start, start + (n - 1) * step + 1, step)),
}


_SIGNS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow,
}  # fmt: skip
_CALLS: dict[str, Callable[..., Any]] = {
    "floordiv": operator.floordiv, "mod": operator.mod, "max": max, "min": min,
}  # fmt: skip


class Recorded:
    """A recorded op that the dispatcher has no name for; takes its tensors, numbers, static values.

    statics: those that no code can spell (programs within programs), which are then no arguments.
    """

    __module__ = "recorded"

    def __init__(self, op: Op, place: Any, split: tuple[int, int], statics: Any = None) -> None:
        self.info = OpInfo(op)
        self.place = place
        self.split = split
        self.statics = statics
        self.__name__ = re.sub(r"\W+", "_", op.label)

    @classmethod
    def of(cls, inst: Instance, statics: Any = None) -> Recorded:
        """The op of an instance."""
        split = len(inst.in_avals), len(inst.in_avals) + len(inst.scalar_types)
        return cls(inst.op, inst.out_avals[0].place, split, statics)

    def __call__(self, *args: Any) -> Any:
        first, second = self.split
        statics = _frozen(args[second:]) if self.statics is None else self.statics
        numbers = args[first:second]
        if first:
            outs = call(self.info, statics, args[:first], numbers)
        else:
            made = instance(self.info.op, statics, numbers, (), self.place)
            outs = [wrap(value) for value in record(made, (), numbers, self.place)]
        return outs[0] if len(outs) == 1 else tuple(outs)


def _frozen(value: Any) -> Any:
    """Lists as tuples and dtypes as NumPy's again, as the recorder has static values."""
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value.numpy if isinstance(value, dtypes.dtype) else value


def _spelled(value: Any) -> bool:
    """Can code spell a static value?"""
    if isinstance(value, tuple):
        return type(value) is tuple and all(map(_spelled, value))
    return value is None or is_symbolic(value) or isinstance(value, int | float | str | np.dtype)


class Expression:
    """A size computed from others: `Expression('2*batch + 3')(batch)`."""

    __module__ = "sizes"

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text, mode="eval").body
        self.names = sorted(
            {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name)} - _CALLS.keys()
        )
        self.__name__ = "size_" + re.sub(r"\W+", "_", text)

    def __call__(self, *sizes: int) -> Any:
        return self._value(self.tree, dict(zip(self.names, sizes, strict=True)))

    def _value(self, node: ast.AST, sizes: Mapping[str, int]) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return sizes[node.id]
        if isinstance(node, ast.UnaryOp):
            return -self._value(node.operand, sizes)
        if isinstance(node, ast.BinOp):
            left, right = (self._value(n, sizes) for n in (node.left, node.right))
            return _SIGNS[type(node.op)](left, right)
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return _CALLS[node.func.id](*(self._value(n, sizes) for n in node.args))


class _SymSize:
    """The size of a tensor along a dimension."""

    __module__, __name__ = "sizes", "sym_size"

    def __call__(self, x: Any, dim: int) -> int:
        return int(x.shape[dim])


sym_size = _SymSize()


class _Drawing:
    """A graph while it is drawn. values: position in the program -> node."""

    def __init__(self, signature: Signature, recording: Recording) -> None:
        self.graph = fx.Graph()
        self.signature, self.recording = signature, recording
        self.values: dict[int, Any] = {}
        self.sizes: dict[str, fx.Node] = {}

    def draw(self) -> fx.Graph:
        recording = self.recording
        program = recording.needed()
        self._inputs(self.signature, program.leaves)
        for step in program.steps:
            self._step(step, recording.scalars)
        outs = [self.values[p] for p in program.outputs]
        shown = len(recording.pure.changed) + len(recording.pure.written)
        first = len(outs) - shown  # what changes state comes before what the user gets
        self.graph.output((*outs[first:], *outs[:first]))
        return self.graph

    def _inputs(self, signature: Signature, leaves: Sequence[int]) -> None:
        pure = self.recording.pure
        inputs = list(signature.inputs)
        if not pure.draws:  # the program has a place for the key all the same
            inputs.insert(len(pure.names), Leaf("rng", "uint32", [2], "rng"))
        pairs = list(zip(inputs, leaves, strict=True))
        for leaf, position in sorted(pairs, key=lambda pair: ORDER.index(pair[0].role)):
            if leaf.role == "rng" and not pure.draws:
                continue
            node = self.graph.placeholder(node_name(leaf))
            if hasattr(builtins, str(node.target)):  # `input`: PyTorch does not mind
                node.name = str(node.target)
            self._noted(node, leaf)
            self.values[position] = node
        for name in signature.dims:
            for leaf, position in pairs:
                if name in leaf.shape and name not in self.sizes:
                    args = self.values[position], leaf.shape.index(name)
                    self.sizes[name] = self.graph.call_function(sym_size, args)

    def _step(self, step: Step, scalars: Sequence[Any]) -> None:
        inst = step.inst
        tensors = [self.values[p] for p in step.inputs]
        first = step.first_scalar
        numbers = [self._settled(n) for n in scalars[first : first + len(inst.scalar_types)]]
        target, args, kwargs = self._called(inst, tensors, numbers)
        name = target.__name__.lstrip("_")
        node = self.graph.create_node("call_function", target, args, kwargs, name=name)
        for i, aval in enumerate(inst.out_avals):
            value = node
            if len(inst.out_avals) > 1:
                value = self.graph.call_function(operator.getitem, (node, i))
            self._noted(value, aval)
            self.values[step.first_output + i] = value

    def _noted(self, node: fx.Node, aval: Any) -> None:
        """Shape and type as a tensor without contents, where no size is open."""
        if all(isinstance(n, int) for n in aval.shape):
            node.meta["val"] = placeholder(aval)

    def _called(self, inst: Any, tensors: Any, numbers: Any) -> tuple[Any, tuple[Any, ...], Any]:
        """(target, args, kwargs) of an instance: its public call, if it has one."""
        op, statics = inst.op, inst.statics
        if op.name in _VIEWS:
            name, ordered = _VIEWS[op.name]
            args = ordered(*numbers, *statics)
            return getattr(aten, name), (tensors[0], *map(self._settled, args)), {}
        facade = getattr(TABLE.get(op.name), "facade", None)
        info = getattr(facade, "info", None)
        if facade is None or info is None or info.op is not op:
            if type(statics) is not tuple or not _spelled(statics):
                return Recorded.of(inst, statics), (*tensors, *numbers), {}
            return Recorded.of(inst), (*tensors, *numbers, *map(self._settled, statics)), {}
        if facade.promote is not None:
            statics = statics[1:]  # the default dtype
        values = facade.signature.join(statics, tensors, numbers)
        return (getattr(aten, op.name), *self._arguments(facade.signature, values))

    def _arguments(self, signature: Any, values: list[Any]) -> tuple[tuple[Any, ...], Any]:
        """Positional and keyword arguments, without defaults at the end."""
        pairs = list(zip(signature.parameters, values, strict=True))
        made = [
            (p, dtypes.of(v) if p.kind == DTYPE and v is not None else self._settled(v))
            for p, v in pairs
        ]
        plain = [(p, v) for p, v in made if not p.keyword_only]
        while plain and not plain[-1][0].required and _is(plain[-1][1], plain[-1][0].default):
            plain.pop()
        kwargs = {p.name: v for p, v in made if p.keyword_only and not _is(v, p.default)}
        return tuple(v for _, v in plain), kwargs

    def _settled(self, value: Any) -> Any:
        """A static value as an argument: tuples as lists, symbolic sizes as nodes."""
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return [self._settled(x) for x in value]
        if isinstance(value, np.dtype):
            return dtypes.of(value)
        if not is_symbolic(value):
            return value
        text = str(value)
        if text not in self.sizes:
            made = Expression(text)
            args = tuple(self.sizes[n] for n in made.names)
            name = "size"
            self.sizes[text] = self.graph.create_node("call_function", made, args, {}, name=name)
        return self.sizes[text]


def _is(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and value == default)


def node_name(leaf: Leaf) -> str:
    """The name of an input's placeholder, as PyTorch makes them."""
    return _PREFIX.get(leaf.role, "") + re.sub(r"\W+", "_", leaf.name).rstrip("_").lower()


def drawn(signature: Signature, recording: Recording) -> fx.Graph:
    """The graph of a program."""
    return _Drawing(signature, recording).draw()
