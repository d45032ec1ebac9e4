"""TorchScript's serialised code, interpreted: the statements that PyTorch's exporter prints.

The code is a small subset of Python's grammar. It is parsed, never handed to Python: what it can reach
is the table of operators below, the ops of funtorch, and the other functions of its archive.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple

from funtorch.jit.operators import HIDDEN, PLAIN, PRIMITIVES, kind, op
from funtorch.nn.module import Module


class ScriptError(RuntimeError):
    """Code of an archive that cannot be interpreted here. Names the file and the line."""


class _Returned(Exception):  # noqa: N818
    """The value of a `return`, on its way out."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Function(NamedTuple):
    """A definition in an archive, with the file it stands in."""

    node: ast.FunctionDef
    file: str


class Interpreter:
    """Runs an archive's functions. functions: by qualified name, `__torch__.Net.forward`.

    constants: the tensors that code names `CONSTANTS.c0`, ...
    """

    def __init__(self, functions: Mapping[str, Function], constants: list[Any]) -> None:
        self.functions = functions
        self.constants = constants

    def call(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The result of a function of the archive."""
        function = self.functions[name]
        frame = _Frame(self, function.file)
        parameters = function.node.args.args
        defaults = function.node.args.defaults
        names = [p.arg for p in parameters]
        if len(args) > len(names):
            raise TypeError(f"{name} takes {len(names)} arguments, not {len(args)}")
        frame.names.update(zip(names, args, strict=False))
        frame.names.update(kwargs)
        for parameter, default in zip(names[len(names) - len(defaults) :], defaults, strict=True):
            if parameter not in frame.names:
                frame.names[parameter] = frame.value(default)
        missing = [n for n in names if n not in frame.names]
        unknown = [n for n in kwargs if n not in names]
        if missing or unknown:
            raise TypeError(f"{name}: arguments missing: {missing}, unknown: {unknown}")
        try:
            frame.run(function.node.body)
        except _Returned as found:
            return found.value
        return None


class _Frame:
    """One call: its variables, and the statements and expressions by their kind."""

    def __init__(self, machine: Interpreter, file: str) -> None:
        self.machine = machine
        self.file = file
        self.names: dict[str, Any] = {}

    def _refuse(self, node: ast.AST, what: str) -> Any:
        line = getattr(node, "lineno", "?")
        raise ScriptError(f"{self.file}, line {line}: {what} is not understood here")

    # Statements -----------------------------------------------------------------------------

    def run(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.Assign):
                value = self.value(node.value)
                for target in node.targets:
                    self._assign(target, value)
            elif isinstance(node, ast.AnnAssign):
                if node.value is not None:
                    self._assign(node.target, self.value(node.value))
            elif isinstance(node, ast.Expr):
                self.value(node.value)
            elif isinstance(node, ast.If):
                self.run(node.body if self.value(node.test) else node.orelse)
            elif isinstance(node, ast.While):
                while self.value(node.test):
                    self.run(node.body)
            elif isinstance(node, ast.For):
                for item in self.value(node.iter):
                    self._assign(node.target, item)
                    self.run(node.body)
            elif isinstance(node, ast.Return):
                raise _Returned(None if node.value is None else self.value(node.value))
            elif not isinstance(node, ast.Pass):
                self._refuse(node, type(node).__name__)

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Tuple):
            for part, item in zip(target.elts, value, strict=True):
                self._assign(part, item)
        elif isinstance(target, ast.Attribute):
            held = self.value(target.value)
            if not isinstance(held, Module) or target.attr in HIDDEN:
                self._refuse(target, f"the attribute {target.attr}")
            setattr(held, target.attr, value)
        else:
            self._refuse(target, "this assignment")

    # Expressions ----------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Any:
        """What an expression stands for."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.List | ast.Tuple):
            items = [self.value(x) for x in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        if isinstance(node, ast.Dict):
            keys = [self.value(k) for k in node.keys if k is not None]
            return dict(zip(keys, map(self.value, node.values), strict=True))
        if isinstance(node, ast.Subscript):
            return self.value(node.value)[self.value(node.slice)]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.value(node.operand)
        if isinstance(node, ast.IfExp):
            return self.value(node.body if self.value(node.test) else node.orelse)
        return self._refuse(node, type(node).__name__)

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.names:
            return self.names[node.id]
        if node.id in ("inf", "nan"):
            return float(node.id)
        return self._refuse(node, f"the name {node.id}")

    def _attribute(self, node: ast.Attribute) -> Any:
        path = _path(node)
        if path is not None and path.startswith("CONSTANTS."):
            return self.machine.constants[int(path.removeprefix("CONSTANTS.c"))]
        if path is not None and path in self.machine.functions:
            return Reference(path)
        held = self.value(node.value)
        if not isinstance(held, Module) or node.attr in HIDDEN:
            return self._refuse(node, f"the attribute {node.attr}")
        return getattr(held, node.attr)

    def _call(self, node: ast.Call) -> Any:
        path = _path(node.func)
        if path in ("annotate", "unchecked_cast"):
            return self.value(node.args[1])
        if path == "uninitialized":
            return None
        args = tuple(self.value(a) for a in node.args)
        kwargs = {k.arg: self.value(k.value) for k in node.keywords if k.arg is not None}
        if path is not None and path in self.machine.functions:
            return self.machine.call(path, args, kwargs)
        root = (path or "").partition(".")[0]
        if path is not None and root in ("torch", "ops") and root not in self.names:
            return self._operator(node, path, args, kwargs)
        if path in PLAIN and path not in self.names:
            try:
                return PLAIN[path](*args)
            except KeyError:
                return self._refuse(node, f"{path}{args[1:]}")
        if isinstance(node.func, ast.Attribute):
            held = self.value(node.func.value)
            name = f"{getattr(held, '_qualified', '')}.{node.func.attr}"
            if name in self.machine.functions:
                return self.machine.call(name, (held, *args), kwargs)
            return self._refuse(node, f"the method {node.func.attr}")
        held = self.value(node.func)
        if isinstance(held, Reference):
            return self.machine.call(held.name, args, kwargs)
        return self._refuse(node, "this call")

    def _operator(self, node: ast.AST, path: str, args: Any, kwargs: dict[str, Any]) -> Any:
        name = path.rpartition(".")[2]
        try:
            if path.startswith("ops.prim."):
                function = PRIMITIVES[name]
            else:
                function = op(path.removeprefix("torch.").removeprefix("ops.aten."))
        except KeyError:
            return self._refuse(node, f"the operator {path}")
        if "dtype" in kwargs and isinstance(kwargs["dtype"], int):
            kwargs["dtype"] = kind(kwargs["dtype"])
        if name in ("to", "type_as") and len(args) > 1 and isinstance(args[1], int):
            return args[0].to(kind(args[1]))
        kwargs = {k: v for k, v in kwargs.items() if k not in ("layout", "pin_memory")}
        return function(*args, **kwargs)


class Reference(NamedTuple):
    """A function of the archive as a value."""

    name: str


def _path(node: ast.expr) -> str | None:
    """'torch.nn.functional' of an expression that is a dotted name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
