"""GraphModule: a module whose `forward` is written from a graph."""

from __future__ import annotations

import copy
import linecache
from typing import Any, NamedTuple

from funtorch.fx.graph import Graph
from funtorch.fx.node import Node, map_arg
from funtorch.nn.module import Module
from funtorch.tensor import Tensor

_count = [0]


class GraphModule(Module):
    """A graph with the modules and tensors that it names.

    root: a module, or a dict from paths to what stands there. After a change of `graph` call
    `recompile`. Raises AttributeError or RuntimeError if the root lacks what the graph names.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Each instance has a class of its own, since `forward` is looked up there.
        if "_own_class" not in cls.__dict__:
            cls = type("GraphModuleImpl", (cls,), {"_own_class": True})
        return super().__new__(cls)

    def __init__(
        self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule"
    ) -> None:
        super().__init__()
        type(self).__name__ = type(self).__qualname__ = class_name
        if isinstance(root, Module):
            self.training = root.training
        for node in graph.nodes:
            if node.op in ("get_attr", "call_module"):
                _copy_attribute(root, self, str(node.target), node)
        self.graph = graph

    @property
    def graph(self) -> Graph:
        """The graph; assigning one compiles it."""
        return self._graph

    @graph.setter
    def graph(self, g: Graph) -> None:
        if not isinstance(g, Graph):
            raise AssertionError(f"Expected a Graph instance, but got {type(g)}")
        self._graph = g if g.owning_module is None else copy.deepcopy(g)
        g.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The source of `forward`."""
        return self._code

    def recompile(self) -> Any:
        """Write and compile `forward` anew; returns the code."""
        made = self._graph.python_code("self")
        self._code = made.src
        _count[0] += 1
        where = f"<eval_with_key>.{_count[0]}"
        linecache.cache[where] = (len(made.src), None, made.src.splitlines(True), where)
        space = dict(made.globals)
        exec(compile(made.src, where, "exec"), space)
        type(self).forward = space["forward"]  # type: ignore[method-assign]
        return made

    def print_readable(self, print_output: bool = True, **options: Any) -> str:
        """The code as a class; printed, and returned."""
        body = self._code.strip().replace("\n", "\n    ")
        text = f"class {type(self).__name__}(torch.nn.Module):\n    {body}\n"
        if print_output:
            print(text)
        return text

    def add_submodule(self, target: str, m: Module) -> bool:
        """Put a module at a path, making the modules on the way."""
        *path, name = target.split(".")
        holder: Any = self
        for part in path:
            if not hasattr(holder, part):
                holder.add_module(part, Module())
            holder = getattr(holder, part)
            if not isinstance(holder, Module):
                return False
        holder.add_module(name, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Take the module at a path away; False if there is none."""
        *path, name = target.split(".")
        try:
            holder = self.get_submodule(".".join(path))
        except AttributeError:
            return False
        if name not in holder._modules:
            return False
        del holder._modules[name]
        return True

    def delete_all_unused_submodules(self) -> None:
        """Take away modules that no node names."""
        used = {
            ".".join(parts[: i + 1])
            for node in self._graph.nodes
            if node.op in ("call_module", "get_attr")
            for parts in (str(node.target).split("."),)
            for i in range(len(parts))
        }
        whole = [str(node.target) for node in self._graph.nodes if node.op == "call_module"]
        for name, _ in list(self.named_modules()):
            inner = any(name.startswith(f"{path}.") for path in whole)
            if name and name not in used and not inner:
                self.delete_submodule(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModule:
        held = Module()
        held.__dict__.update(copy.deepcopy(_state(self), memo))
        made = GraphModule(held, copy.deepcopy(self._graph), type(self).__name__)
        made.__dict__.update(
            {k: v for k, v in held.__dict__.items() if k not in made.__dict__ or k == "training"}
        )
        memo[id(self)] = made
        return made

    def __reduce__(self) -> Any:
        return _rebuilt, (_state(self), _packed(self._graph), type(self).__name__)

    def __str__(self) -> str:
        more = "# To see more debug info, please use `graph_module.print_readable()`"
        return f"{super().__repr__()}\n{self._code}\n{more}"


def _state(module: GraphModule) -> dict[str, Any]:
    return {k: v for k, v in module.__dict__.items() if k not in ("_graph", "_code")}


class _Named(NamedTuple):
    """A node in a pickled graph."""

    name: str


def _packed(graph: Graph) -> list[Any]:
    """A graph without links, so that long ones can be pickled."""

    def name(node: Node) -> _Named:
        return _Named(node.name)

    return [
        (n.op, n.target, map_arg(n.args, name), map_arg(n.kwargs, name), n.name, n.type)
        for n in graph.nodes
    ]


def _rebuilt(state: dict[str, Any], packed: list[Any], name: str) -> GraphModule:
    held = Module()
    held.__dict__.update(state)
    graph, made = Graph(), dict[str, Node]()

    def unnamed(a: Any) -> Any:
        if isinstance(a, _Named):
            return made[a.name]
        if isinstance(a, tuple) and not hasattr(a, "_fields"):
            return tuple(map(unnamed, a))
        if isinstance(a, list):
            return [unnamed(x) for x in a]
        if isinstance(a, dict):
            return {key: unnamed(x) for key, x in a.items()}
        return slice(*map(unnamed, (a.start, a.stop, a.step))) if isinstance(a, slice) else a

    for op, target, args, kwargs, own, kind in packed:
        made[own] = graph.create_node(op, target, unnamed(args), unnamed(kwargs), own, kind)
    return GraphModule(held, graph, name)


def _copy_attribute(source: Any, target: Module, path: str, node: Node) -> None:
    """Put what stands at a path of the root at the same path of a module."""
    *way, name = path.split(".")
    if isinstance(source, dict) and path not in source:
        raise RuntimeError(
            f"Node {node} referenced target {path} but that target was not provided in root!"
        )
    found = source[path] if isinstance(source, dict) else source
    for part in [] if isinstance(source, dict) else [*way, name]:
        found = getattr(found, part)
    for part in way:
        if not hasattr(target, part):
            target.add_module(part, Module())
        target = getattr(target, part)
    if isinstance(found, Tensor) and not _is_parameter(found):
        target.register_buffer(name, found)
    else:
        setattr(target, name, found)


def _is_parameter(tensor: Tensor) -> bool:
    return type(tensor) is not Tensor
