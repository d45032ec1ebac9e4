"""Tracer: calls a module with proxies and collects what it does to them as a graph."""

from __future__ import annotations

import builtins
import contextlib
import functools
import inspect
import math
import types
from collections.abc import Callable, Iterator
from typing import Any

from funtorch.fx.graph import Graph
from funtorch.fx.graph_module import GraphModule
from funtorch.fx.node import Argument, map_aggregate
from funtorch.fx.proxy import Proxy, TracerBase
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.tensor import Tensor
from funtorch.toplevel import _assert

_wrapped: list[tuple[dict[str, Any], str]] = []
"""Functions that stay calls in graphs: (the globals they stand in, their name)."""


def wrap(fn_or_name: str | Callable[..., Any]) -> Any:
    """At the top of a file: calls of this function, seen from there, become nodes of their own.

    Also a decorator. Raises RuntimeError for anything but a name or a function.
    """
    if not isinstance(fn_or_name, str) and not callable(fn_or_name):
        raise RuntimeError(
            "Unsupported type for global function! Must be either a callable or string name"
        )
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    if frame.f_back.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _wrapped.append((frame.f_back.f_globals, name))
    return fn_or_name


class Tracer(TracerBase):
    """Subclass it to choose which modules stay calls (`is_leaf_module`) and how nodes are made."""

    def __init__(
        self,
        autowrap_modules: tuple[Any, ...] = (math,),
        autowrap_functions: tuple[Callable[..., Any], ...] = (),
        param_shapes_constant: bool = False,
    ) -> None:
        self._autowrap = [
            function
            for module in autowrap_modules
            for name, function in vars(module).items()
            if callable(function) and not name.startswith("_")
        ]
        self._autowrap += autowrap_functions
        self.root: Any = None
        self.tensor_attrs: dict[int, str] = {}

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Does this module stay a call? Layers of `torch.nn` do, containers do not."""
        home = type(m).__module__
        return home.startswith(("funtorch.nn", "torch.nn")) and not _is_container(m)

    def path_of_module(self, mod: Module) -> str:
        """The name of a submodule. Raises NameError if the root does not have it."""
        for name, held in self.root.named_modules():
            if held is mod:
                return str(name)
        raise NameError("module is not installed as a submodule")

    def call_module(
        self,
        m: Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """What a call of a module within the traced one becomes."""
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        return forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """What reading a parameter or buffer of a module becomes."""
        path = self.tensor_attrs.get(id(attr_val)) if isinstance(attr_val, Tensor) else None
        if path is None:
            return attr_val
        if path not in parameter_proxy_cache:
            parameter_proxy_cache[path] = self.create_proxy("get_attr", path, (), {})
        return parameter_proxy_cache[path]

    def _plain(self, a: Any) -> Argument:
        if isinstance(a, Tensor):
            path = self.tensor_attrs.get(id(a))
            if path is None and isinstance(a, Parameter):
                raise NameError("parameter is not a member of this module")
            return self.create_node("get_attr", path or self._constant(a), (), {})
        if isinstance(a, Module):
            return self.create_node("get_attr", self.path_of_module(a), (), {})
        return super()._plain(a)

    def _constant(self, tensor: Tensor) -> str:
        """Keep a tensor that is no attribute of the root as one."""
        i = 0
        while hasattr(self.root, f"_tensor_constant{i}"):
            i += 1
        name = self.tensor_attrs[id(tensor)] = f"_tensor_constant{i}"
        setattr(self.root, name, tensor)
        return name

    def trace(
        self, root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
    ) -> Graph:
        """The graph of a module or function. concrete_args: parameters with values of their own."""
        if isinstance(root, Module):
            self.root, function = root, type(root).forward
            takes_self = True
        else:
            self.root, function, takes_self = Module(), root, False
        self.graph = Graph(tracer_cls=type(self))
        self.tensor_attrs = {id(t): name for name, t in _tensors(self.root)}
        args = self._arguments(function, takes_self, concrete_args or {})
        with _patched(self):
            made = _positional(function)(*args)
        returned = _annotation(_signature(function).return_annotation)
        self.create_node("output", "output", (self.create_arg(made),), {}, type_expr=returned)
        return self.graph

    def _arguments(
        self, function: Callable[..., Any], takes_self: bool, concrete: dict[str, Any]
    ) -> list[Any]:
        """The root and proxies for the parameters, in the order of the function's variables."""
        parameters = list(_signature(function).parameters.values())[int(takes_self) :]
        order = (0, 1, 3, 2, 4)  # *args come after what is keyword-only there
        parameters.sort(key=lambda p: order[p.kind])
        made = [
            self._fixed(p, concrete[p.name]) if p.name in concrete else self._placeholder(p)
            for p in parameters
        ]
        return [self.root, *made] if takes_self else made

    def _fixed(self, parameter: inspect.Parameter, value: Any) -> Any:
        """The value of a concrete argument; the graph keeps the parameter and asserts the value."""
        default = () if parameter.default is parameter.empty else (parameter.default,)
        given = self.create_proxy("placeholder", f"{parameter.name}_1", default, {})
        said = f"{parameter.name} has been specialized to have value {value} but got another value"
        if isinstance(value, bool | int | float | str):
            self.create_proxy("call_function", _assert, (given == value, said), {})
        return value

    def _placeholder(self, parameter: inspect.Parameter) -> Proxy:
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        target = stars.get(parameter.kind, "") + parameter.name
        empty = inspect.Parameter.empty
        default = () if parameter.default is empty else (parameter.default,)
        kind = _annotation(parameter.annotation)
        return self.create_proxy("placeholder", target, default, {}, type_expr=kind)


def _positional(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with every parameter positional, *args and **kwargs too, so that proxies fit."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return function
    stars = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS
    count = code.co_argcount + code.co_kwonlyargcount + sum(bool(code.co_flags & s) for s in stars)
    plain = code.replace(
        co_argcount=count,
        co_posonlyargcount=0,
        co_kwonlyargcount=0,
        co_flags=code.co_flags & ~(stars[0] | stars[1]),
    )
    return types.FunctionType(
        plain, function.__globals__, function.__name__, None, function.__closure__
    )


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:
        return inspect.signature(function)


def _annotation(given: Any) -> Any:
    return None if given is inspect.Signature.empty or given is Any else given


def _is_container(module: Module) -> bool:
    return type(module).__name__ == "Sequential" or type(module).forward is Module.forward


def _tensors(root: Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and other tensors among the attributes of a module and its parts."""
    for prefix, module in root.named_modules():
        held = {**vars(module), **module._parameters, **module._buffers}
        for name, value in held.items():
            if isinstance(value, Tensor):
                yield ".".join(filter(None, (prefix, name))), value


def _has_proxy(*given: Any) -> Proxy | None:
    found: list[Proxy] = []
    map_aggregate(given, lambda a: found.append(a) if isinstance(a, Proxy) else a)
    return found[0] if found else None


def _as_node(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which becomes a node when it is called with a proxy."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        proxy = _has_proxy(args, kwargs)
        if proxy is None:
            return function(*args, **kwargs)
        return proxy.tracer.create_proxy("call_function", function, args, kwargs)

    return call


@contextlib.contextmanager
def _patched(tracer: Tracer) -> Iterator[None]:
    """While it lasts, calls of modules and reads of parameters reach the tracer."""
    cache: dict[str, Any] = {}
    plain_call, plain_get = Module.__call__, Module.__getattr__

    def call(mod: Module, *args: Any, **kwargs: Any) -> Any:
        def forward(*args: Any, **kwargs: Any) -> Any:
            return plain_call(mod, *args, **kwargs)

        return tracer.call_module(mod, forward, args, kwargs)

    def get(mod: Module, name: str) -> Any:
        return tracer.getattr(name, plain_get(mod, name), cache)

    undo = [(Module, "__call__", plain_call), (Module, "__getattr__", plain_get)]
    Module.__call__, Module.__getattr__ = call, get  # type: ignore[method-assign]
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for space, name in _places(tracer):
            present = name in space
            before = space[name] if present else getattr(builtins, name)
            replaced.append((space, name, before if present else None))
            space[name] = _as_node(before)
        yield
    finally:
        for place, name, before in undo:
            setattr(place, name, before)
        for space, name, before in reversed(replaced):
            if before is None:
                del space[name]
            else:
                space[name] = before


def _places(tracer: Tracer) -> Iterator[tuple[dict[str, Any], str]]:
    """The names to replace: wrapped ones, and those of `math` and its like in their modules."""
    yield from _wrapped
    for function in tracer._autowrap:
        home = inspect.getmodule(function)
        if home is not None and vars(home).get(function.__name__) is function:
            yield vars(home), function.__name__


def symbolic_trace(
    root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
) -> GraphModule:
    """A module or function as a GraphModule, whose graph can be read and changed."""
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else root.__name__
    return GraphModule(tracer.root, graph, name)
