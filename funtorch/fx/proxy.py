"""Proxy: what stands for a value while a program is traced; what is done to it becomes nodes."""

from __future__ import annotations

import dis
import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any

from funtorch.fx.graph import Graph
from funtorch.fx.node import Argument, Node, Target, map_aggregate
from funtorch.overrides import is_tensor_method_or_property
from funtorch.tensor import Tensor


class TraceError(ValueError):
    """A program does what cannot be traced, such as `if` on a value."""


class TracerBase:
    """Makes nodes from calls; `graph` is where they go."""

    graph: Graph

    def create_node(
        self,
        kind: str,
        target: Target,
        args: tuple[Argument, ...],
        kwargs: dict[str, Argument],
        name: str | None = None,
        type_expr: Any = None,
    ) -> Node:
        """Add a node to the graph."""
        return self.graph.create_node(kind, target, args, kwargs, name, type_expr)

    def proxy(self, node: Node) -> Proxy:
        """What stands for a node's value."""
        return Proxy(node, self)

    def create_proxy(
        self,
        kind: str,
        target: Target,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
    ) -> Proxy:
        """Add a node for a call with proxies; returns what stands for its value."""
        given, named = self.create_arg(tuple(args)), self.create_arg(dict(kwargs))
        return self.proxy(self.create_node(kind, target, given, named, name, type_expr))

    def create_arg(self, a: Any) -> Argument:
        """An argument as a node holds it: proxies become nodes."""
        return map_aggregate(a, self._plain)

    def _plain(self, a: Any) -> Argument:
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, range):
            return range(*(self.create_arg(x) for x in (a.start, a.stop, a.step)))
        if isinstance(a, Tensor):
            raise NotImplementedError(f"argument of type: {type(a)}")
        return a

    def to_bool(self, obj: Proxy) -> bool:
        """What `bool` of a proxy answers; here it is refused."""
        raise TraceError(
            "symbolically traced variables cannot be used as inputs to control flow"
        )

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """What iterating over a proxy answers: its elements, where a known number is unpacked."""
        frame = inspect.currentframe()
        assert frame is not None and frame.f_back is not None and frame.f_back.f_back is not None
        calling = frame.f_back.f_back
        for step in dis.get_instructions(calling.f_code):
            if step.offset > calling.f_lasti:
                break
            now = step
        if now.opname == "UNPACK_SEQUENCE":
            return (obj[i] for i in range(now.argval))
        raise TraceError(
            "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a "
            "loop or as a *args or **kwargs function argument."
        )

    def keys(self, obj: Proxy) -> Any:
        """What `obj.keys()` answers."""
        return Attribute(obj, "keys")()


class GraphAppendingTracer(TracerBase):
    """Adds to a graph that is there already."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph


class Proxy:
    """Stands for the value of a node. Operators, methods and functions of torch add nodes."""

    node: Node

    def __init__(self, node: Node, tracer: TracerBase | None = None) -> None:
        self.tracer = GraphAppendingTracer(node.graph) if tracer is None else tracer
        self.node = node

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, name: str) -> Attribute:
        return Attribute(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Proxy:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        return self.tracer.iter(self)

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def __len__(self) -> int:
        raise RuntimeError(
            "'len' is not supported in symbolic tracing by default. If you want this call to be "
            "recorded, please call torch.fx.wrap('len') at module scope"
        )

    def keys(self) -> Any:
        """The keys of a dict."""
        return self.tracer.keys(self)

    def __deepcopy__(self, memo: Any) -> Proxy:
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Proxy:
        found: list[TracerBase] = []
        map_aggregate(
            (args, kwargs), lambda a: found.append(a.tracer) if isinstance(a, Proxy) else a
        )
        if is_tensor_method_or_property(func):
            return found[0].create_proxy("call_method", func.__name__, args, kwargs or {})
        return found[0].create_proxy("call_function", func, args, kwargs or {})


class Attribute(Proxy):
    """An attribute of a proxy: read as such, or called as a method."""

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        """Reading the attribute. Made only if it is read, not called."""
        if self._node is None:
            args = (self.root, self.attr)
            self._node = self.tracer.create_proxy("call_function", getattr, args, {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Proxy:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


_MAGIC = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lshift", "rshift"),
    *("and_", "or_", "xor", "eq", "ne", "lt", "gt", "le", "ge", "getitem", "pos", "neg"),
    "invert",
)
_REFLECTED = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lshift", "rshift"),
    *("and_", "or_", "xor"),
)


def _define(name: str) -> None:
    function = getattr(operator, name)

    def method(*args: Any) -> Proxy:
        return args[0].tracer.create_proxy("call_function", function, args, {})

    setattr(Proxy, f"__{name.strip('_')}__", method)


def _define_reflected(name: str) -> None:
    function = getattr(operator, name)

    def method(self: Proxy, other: Any) -> Proxy:
        return self.tracer.create_proxy("call_function", function, (other, self), {})

    setattr(Proxy, f"__r{name.strip('_')}__", method)


for _name in _MAGIC:
    _define(_name)
for _name in _REFLECTED:
    _define_reflected(_name)
Proxy.__abs__ = lambda self: self.tracer.create_proxy("call_function", abs, (self,), {})  # type: ignore[attr-defined]
Proxy.__hash__ = lambda self: id(self)  # type: ignore[method-assign]
