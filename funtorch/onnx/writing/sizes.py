"""Symbolic dimensions as nodes: an expression of named sizes becomes arithmetic on Shape."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from funtorch.onnx.writing.values import Val

_BINARY = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
_CALLS = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}


def tree_of(dim: Any) -> ast.expr:
    """The syntax tree of a dimension's expression, such as `floordiv(t, 2) + 2*b`."""
    return ast.parse(str(dim).replace("^", "**"), mode="eval").body


def value_of(dim: Any, sizes: Mapping[str, int]) -> int:
    """A dimension as a number, where its names have these sizes."""
    if isinstance(dim, int):
        return dim
    calls = {"floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b, "max": max, "min": min}
    code = compile(ast.Expression(tree_of(dim)), "<dimension>", "eval")
    return int(eval(code, {"__builtins__": {}}, {**calls, **sizes}))


class Sizes:
    """Nodes for the sizes that are not known before the model runs. Each is an int64 [1]."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.roots: dict[str, Val] = {}
        self.known: dict[str, Val] = {}

    def source(self, dim: Any, value: Val, axis: int) -> None:
        """Say where a dimension can be read. Plain names come from here, and a*n + c as well."""
        if isinstance(dim, int):
            return
        found = _linear(tree_of(dim))
        if found is None or (found[0] in self.roots and found[1:] != (1, 0)):
            return
        name, factor, offset = found
        if (factor, offset) == (1, 0) and name in self.known:
            return

        with self.graph.preamble():
            size = self.graph.op(
                "Shape", value, start=axis, end=axis + 1, dtype="int64", shape=(1,)
            )
            if offset:
                size = self.graph.op("Sub", size, self.graph.ints([offset]))
            if factor != 1:
                size = self.graph.op("Div", size, self.graph.ints([factor]))
        self.roots[name] = size
        if (factor, offset) == (1, 0):
            self.known[name] = size

    def of(self, dim: Any) -> Val:
        """int64 [1]"""
        if isinstance(dim, int):
            return self.graph.ints([dim])  # type: ignore[no-any-return]
        text = str(dim)
        if text not in self.known:
            with self.graph.preamble():
                self.known[text] = self._emitted(tree_of(dim))
        return self.known[text]

    def _emitted(self, node: ast.expr) -> Val:
        graph = self.graph
        if isinstance(node, ast.Constant):
            return graph.ints([node.value])  # type: ignore[no-any-return]
        if isinstance(node, ast.Name):
            if node.id not in self.roots:
                raise RuntimeError(f"no input has the dimension {node.id}")
            return self.roots[node.id]
        if isinstance(node, ast.UnaryOp):
            return graph.op("Neg", self._emitted(node.operand))  # type: ignore[no-any-return]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            base, times = self._emitted(node.left), ast.literal_eval(node.right)
            made = base
            for _ in range(times - 1):
                made = graph.op("Mul", made, base)
            return made
        if isinstance(node, ast.BinOp):
            left, right = self._emitted(node.left), self._emitted(node.right)
            return graph.op(_BINARY[type(node.op)], left, right)  # type: ignore[no-any-return]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            args = [self._emitted(a) for a in node.args]
            if node.func.id == "floordiv":
                return self._floor_divided(*args)
            return graph.op(_CALLS[node.func.id], *args)  # type: ignore[no-any-return]
        raise NotImplementedError(f"a dimension of the form {ast.unparse(node)}")

    def _floor_divided(self, over: Val, under: Val) -> Val:
        """ONNX divides towards zero, a dimension is divided downwards."""
        graph = self.graph
        rest = graph.op("Mod", over, under)
        return graph.op("Div", graph.op("Sub", over, rest), under)  # type: ignore[no-any-return]


def _linear(node: ast.expr) -> tuple[str, int, int] | None:
    """(name, factor, offset) of factor*name + offset."""
    if isinstance(node, ast.Name):
        return node.id, 1, 0
    if isinstance(node, ast.BinOp):
        left, right = node.left, node.right
        if isinstance(node.op, ast.Mult) and isinstance(left, ast.Constant):
            inner = _linear(right)
            return inner and (inner[0], inner[1] * left.value, inner[2] * left.value)
        if isinstance(node.op, ast.Add | ast.Sub) and isinstance(right, ast.Constant):
            inner = _linear(left)
            sign = 1 if isinstance(node.op, ast.Add) else -1
            return inner and (inner[0], inner[1], inner[2] + sign * right.value)
    return None
