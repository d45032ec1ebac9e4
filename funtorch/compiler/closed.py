"""Which functions depend on nothing but their arguments and what a guard can watch.

Such a function's program may be run again without its Python. The walk is over the source of the
function, of the user's functions and methods that it can reach by name, and over the modules among
them; what it does not know it refuses. Functions of funtorch and modules of `funtorch.nn` are known.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
import types
from collections.abc import Mapping
from typing import Any

from funtorch.device import device
from funtorch.dtypes import dtype
from funtorch.nn.module import Module
from funtorch.tensor import Tensor

_HOME = frozenset(
    f"funtorch{rest}" for rest in ("", ".nn.functional", ".linalg", ".fft", ".special")
)
_BUILTINS = {
    "abs", "all", "any", "bool", "complex", "dict", "divmod", "enumerate", "float", "frozenset",
    "int", "isinstance", "len", "list", "map", "max", "min", "pow", "range", "reversed", "round",
    "set", "slice", "sorted", "str", "sum", "super", "tuple", "zip",
}  # fmt: skip
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), dtype, device)
_REFUSED = (
    ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith,
    ast.AsyncFunctionDef, ast.Import, ast.ImportFrom, ast.ClassDef, ast.With, ast.Try, ast.Delete,
)  # fmt: skip
# Of a module's own methods these only read.
_READING = {"forward", "parameters", "children", "modules", "named_children", "named_parameters"}
_WRITING = {n for n in dir(Module) if not hasattr(Tensor, n) and not n.startswith("_")}
_WRITING -= {*_READING, "training"}
_WRITING |= {"register_hook", "backward", "requires_grad_", "retain_grad", "set_"}
_CHANGING = frozenset(
    n for kind in (list, dict, set) for n in dir(kind) if not n.startswith("_")
) - {"copy", "count", "index", "items", "keys", "values", "get"}  # fmt: skip
_OWN = frozenset(Module().__dict__)


class OpenError(Exception):
    """The function may depend on, or change, something that no guard watches."""


class Closed:
    """What a closed function reaches: modules, containers, and names with what they stand for."""

    def __init__(self, function: Any) -> None:
        self.modules: dict[int, Module] = {}
        self.containers: list[Any] = []
        self.names: list[tuple[Any, str, Any]] = []
        self._seen: set[Any] = set()
        self._attributes: set[str] = set()
        self._stores = False
        self._value(function)
        while self._methods():  # a method may name further ones
            pass
        if self.containers and (self._stores or self._attributes & _CHANGING):
            raise OpenError("a list or dict from outside may be changed")

    # Values -------------------------------------------------------------------------------------

    def _value(self, value: Any) -> None:
        """Refuse a value that is not known to stay as it is."""
        if isinstance(value, _PLAIN):
            return
        if isinstance(value, Module):
            self._module(value)
        elif isinstance(value, tuple | frozenset):
            for item in value:
                self._value(item)
        elif type(value) in (list, dict):
            self.containers.append(value)
            for item in contents(value):
                self._value(item)
        elif isinstance(value, types.MethodType):
            self._value(value.__self__)
            self._value(value.__func__)
        elif isinstance(value, types.FunctionType):
            if value.__module__ not in _HOME:
                self._function(value)
        elif not (isinstance(value, types.BuiltinFunctionType) and value.__module__ == "math"):
            raise OpenError(f"{type(value).__name__} {value!r:.60}")

    def _module(self, module: Module) -> None:
        if id(module) in self.modules:
            return
        self.modules[id(module)] = module
        kind = type(module)
        self._attributes.add("forward")
        if "forward" in module.__dict__:
            raise OpenError(f"{kind.__name__}.forward was replaced")
        if not kind.__module__.startswith("funtorch."):
            for name in ("__call__", "__getattr__", "__getattribute__", "__setattr__"):
                if getattr(kind, name) is not getattr(Module, name):
                    raise OpenError(f"{kind.__name__} has its own {name}")
            for name, value in module.__dict__.items():
                if name not in _OWN:
                    self._value(value)
        elif not _within(kind, "") or _within(kind, ".utils", ".parallel"):
            raise OpenError(kind.__name__)
        for child in module._modules.values():
            if child is not None:
                self._module(child)

    # Code ---------------------------------------------------------------------------------------

    def _methods(self) -> bool:
        """Walk the methods that the modules' classes have by the names seen so far; were any new?"""
        fresh = [
            (base, name)
            for base in {b for m in self.modules.values() for b in type(m).__mro__}
            if base is not object and base.__module__.partition(".")[0] != "funtorch"
            for name in self._attributes & base.__dict__.keys()
            if (base, name) not in self._seen
        ]
        for base, name in fresh:
            self._seen.add((base, name))
            value = base.__dict__[name]
            self.names.append((base.__dict__, name, value))
            if isinstance(value, property | staticmethod | classmethod):
                value = value.fget if isinstance(value, property) else value.__func__
            self._value(value)
        return bool(fresh)

    def _function(self, function: types.FunctionType) -> None:
        code = function.__code__
        if code in self._seen:
            return
        self._seen.add(code)
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._value(value)
        node = _source(function)
        bound = _bound(node) - (set(code.co_names) & function.__globals__.keys())
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        stack = list(node.body)
        while stack:
            part = stack.pop()
            if isinstance(part, _REFUSED):
                raise OpenError(f"{type(part).__name__.lower()} in line {part.lineno}")
            if isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Store):
                self._stores = True
                if not isinstance(part.value, ast.Name) or part.value.id not in bound:
                    raise OpenError(f"an element is assigned in line {part.lineno}")
            if isinstance(part, ast.Attribute):
                if self._of_a_package(part, function.__globals__, bound):
                    continue
                self._attribute(part)
            elif isinstance(part, ast.Name) and part.id not in bound:
                self._outer(part.id, function.__globals__, cells)
            stack.extend(ast.iter_child_nodes(part))

    def _attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Store) or node.attr in _WRITING:
            raise OpenError(f"{node.attr!r} in line {node.lineno}")
        self._attributes.add(node.attr)

    def _of_a_package(self, node: ast.Attribute, space: Mapping[str, Any], bound: set[str]) -> bool:
        """`F.relu`, `torch.nn.functional.relu`: does a Python module stand at its beginning?"""
        path: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            path.append(root.attr)
            root = root.value
        if not isinstance(root, ast.Name) or root.id in bound:
            return False
        value = space.get(root.id)
        if not isinstance(value, types.ModuleType):
            return False
        self.names.append((space, root.id, value))
        while path and isinstance(value, types.ModuleType):
            name = path.pop()
            holder, value = value, getattr(value, name)
            self.names.append((holder.__dict__, name, value))
        self._attributes.update(path)
        self._value(value)
        return True

    def _outer(self, name: str, space: Mapping[str, Any], cells: Mapping[str, Any]) -> None:
        """A name from outside of the function: of its closure, its globals, or Python's own."""
        if name in cells:
            value = getattr(cells[name], "cell_contents", None)
            self._value(value)
            self.names.append((_Cell(cells[name]), name, value))
        elif name in space:
            self._value(space[name])
            self.names.append((space, name, space[name]))
        elif name not in _BUILTINS:
            found = getattr(builtins, name, None)
            if not (isinstance(found, type) and issubclass(found, Exception)):
                raise OpenError(name)


class _Cell:
    """A closure's cell, looked up as a dict is."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def get(self, name: str, default: Any = None) -> Any:
        """What the cell holds now."""
        return getattr(self.cell, "cell_contents", default)


def contents(container: Any) -> tuple[Any, ...]:
    """What a list or dict holds, keys included."""
    if isinstance(container, dict):
        return (*container.keys(), *container.values())
    return tuple(container)


def _within(kind: type, *packages: str) -> bool:
    """Is a class of one of these packages of funtorch.nn?"""
    return any(f"{kind.__module__}.".startswith(f"funtorch.nn{p}.") for p in packages)


def _source(function: types.FunctionType) -> ast.FunctionDef:
    """The definition of a function. Raises OpenError where there is none to read."""
    if hasattr(function, "__wrapped__"):
        raise OpenError(f"{function.__qualname__} is decorated")
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError) as error:
        raise OpenError(f"{function.__qualname__} has no source") from error
    if not isinstance(node, ast.FunctionDef) or node.name != function.__name__:
        raise OpenError(f"{function.__qualname__} has no source")
    return node


def _bound(node: ast.FunctionDef) -> set[str]:
    """Every name that the function, or a function within it, binds."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.arg):
            found.add(part.arg)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.FunctionDef) and part is not node:
            found.add(part.name)
    return found
