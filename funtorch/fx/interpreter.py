"""Interpreter and Transformer: a graph run node by node, with values or with proxies."""

from __future__ import annotations

from typing import Any

from funtorch.fx.graph import Graph
from funtorch.fx.graph_module import GraphModule
from funtorch.fx.node import Argument, Node, map_arg
from funtorch.fx.proxy import Proxy
from funtorch.fx.tracer import Tracer
from funtorch.nn.module import Module

Args = tuple[Argument, ...]
Named = dict[str, Any]


class Interpreter:
    """Runs a GraphModule; override `call_function` and its kin to watch or change what happens."""

    def __init__(
        self,
        module: Module,
        garbage_collect_values: bool = True,
        graph: Graph | None = None,
    ) -> None:
        self.module: Any = module
        self.submodules = dict(module.named_modules())
        self.graph: Graph = self.module.graph if graph is None else graph
        self.env: dict[Node, Any] = {}
        self.garbage_collect_values = garbage_collect_values
        self._last: dict[Node, list[Node]] = {}
        seen: set[Node] = set()
        for node in reversed(self.graph.nodes):
            for given in node.all_input_nodes:
                if given not in seen:
                    seen.add(given)
                    self._last.setdefault(node, []).append(given)

    def run(self, *args: Any, initial_env: dict[Node, Any] | None = None) -> Any:
        """Run the graph; returns its output."""
        self.env = dict(initial_env or {})
        self.args_iter = iter(args)
        for node in self.graph.nodes:
            if node in self.env:
                continue
            self.env[node] = self.run_node(node)
            if self.garbage_collect_values:
                for done in self._last.get(node, ()):
                    self.env.pop(done, None)
            if node.op == "output":
                return self.env[node]
        return None

    def run_node(self, n: Node) -> Any:
        """Run one node by the method that its `op` names."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, args, kwargs)

    def placeholder(self, target: Any, args: Args, kwargs: Named) -> Any:
        """The next argument of `run`, or the default."""
        if target.startswith("*"):
            return list(self.args_iter)
        try:
            return next(self.args_iter)
        except StopIteration:
            if args:
                return args[0]
            raise RuntimeError(
                f"Expected positional argument for parameter {target}, but one was not passed in!"
            ) from None

    def get_attr(self, target: Any, args: Args, kwargs: Named) -> Any:
        """The attribute at a path of the module."""
        return self.fetch_attr(target)

    def call_function(self, target: Any, args: Args, kwargs: Named) -> Any:
        """Call a function."""
        return target(*args, **kwargs)

    def call_method(self, target: Any, args: Args, kwargs: Named) -> Any:
        """Call a method of args[0]."""
        return getattr(args[0], target)(*args[1:], **kwargs)

    def call_module(self, target: Any, args: Args, kwargs: Named) -> Any:
        """Call a submodule."""
        return self.fetch_attr(target)(*args, **kwargs)

    def output(self, target: Any, args: Args, kwargs: Named) -> Any:
        """What is returned."""
        return args[0]

    def fetch_attr(self, target: str) -> Any:
        """The attribute at a path of the module."""
        found = self.module
        for part in target.split("."):
            found = getattr(found, part)
        return found

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[Args, Named]:
        """A node's arguments with the values of their nodes."""
        args = self.map_nodes_to_values(n.args, n)
        return args, self.map_nodes_to_values(n.kwargs, n)

    def map_nodes_to_values(self, args: Argument, n: Node) -> Argument:
        """Put values in the place of nodes."""
        return map_arg(args, lambda node: self.env[node])


class Transformer(Interpreter):
    """Runs a graph with proxies, so that overridden methods write another one: `transform()`."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.new_graph = Graph()
        self.tracer = Tracer()
        self.tracer.graph, self.tracer.root = self.new_graph, module

    def placeholder(self, target: Any, args: Args, kwargs: Named) -> Proxy:
        """A parameter of the new graph."""
        return Proxy(self.new_graph.placeholder(target, None, *args), self.tracer)

    def get_attr(self, target: Any, args: Args, kwargs: Named) -> Proxy:
        """The reading of an attribute in the new graph."""
        return self.tracer.create_proxy("get_attr", target, args, kwargs)

    def call_module(self, target: Any, args: Args, kwargs: Named) -> Any:
        """The call of a submodule in the new graph."""
        return self.tracer.create_proxy("call_module", target, args, kwargs)

    def call_function(self, target: Any, args: Args, kwargs: Named) -> Any:
        """The call of a function in the new graph."""
        return self.tracer.create_proxy("call_function", target, args, kwargs)

    def transform(self) -> GraphModule:
        """The new GraphModule."""
        result = super().run()
        if result is not None:
            self.new_graph.output(map_arg_of_proxies(result))
        return GraphModule(self.module, self.new_graph)


def map_arg_of_proxies(a: Any) -> Argument:
    """An argument with nodes in the place of proxies."""
    return Tracer().create_arg(a)
