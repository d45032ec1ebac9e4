"""torch.fx: programs as graphs of calls, to be read, changed and written back as Python.

`symbolic_trace` calls a module with proxies. What it gives is a way to look at a program and rewrite
it; compiling needs none of it, since funtorch records what runs.
"""

from funtorch.fx.graph import Graph, PythonCode
from funtorch.fx.graph_module import GraphModule
from funtorch.fx.interpreter import Interpreter, Transformer
from funtorch.fx.node import Node, map_arg
from funtorch.fx.proxy import Proxy
from funtorch.fx.tracer import Tracer, symbolic_trace, wrap

__all__ = [
    "Graph",
    "GraphModule",
    "Interpreter",
    "Node",
    "Proxy",
    "PythonCode",
    "Tracer",
    "Transformer",
    "map_arg",
    "symbolic_trace",
    "wrap",
]
