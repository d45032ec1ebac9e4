"""A Python function's source, rewritten so that control flow on tensors can be captured.

`if`, `while`, conditional expressions, `and`, `or`, `not` and `assert` become calls into `control`,
with the branches as local functions of the variables that they touch. Lines keep their numbers. Jumps out
of loops become flags first (`jumps`). What cannot be rewritten (a loop's else, a jump out of `with`) stays
Python, and says so with its line if its condition turns out to be a tensor while a program is captured.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
from collections.abc import Callable, Sequence
from typing import Any

from funtorch.jit.jumps import Jumps, contains, leaves_loop

_RUNTIME = "__control__"


def converted(function: Callable[..., Any], runtime: Any) -> Callable[..., Any]:
    """The function with its control flow rewritten; itself if it has no source.

    runtime: the object whose methods the rewritten code calls.
    """
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return function
    try:
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except SyntaxError:  # a lambda in the middle of an expression
        return function
    node = tree.body[0]
    if not isinstance(node, ast.FunctionDef):
        return function
    node.decorator_list = []
    ast.increment_lineno(tree, first - 1)
    node.body = Jumps(lambda flag: _runtime("stopped", flag)).block(node.body)
    changed = _Rewriter(_locals(node)).function(node)
    return _compiled(changed, function, runtime)


def _compiled(node: ast.FunctionDef, function: Any, runtime: Any) -> Callable[..., Any]:
    """Run the new definition within the old one's globals and closure."""
    free = function.__code__.co_freevars
    node.args.defaults = []
    node.args.kw_defaults = [None] * len(node.args.kwonlyargs)
    for argument in [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]:
        argument.annotation = None
    node.returns = None
    outer = ast.FunctionDef(
        name="__outer__",
        args=_arguments([_RUNTIME, *free]),
        body=[node, ast.Return(ast.Name(node.name, ast.Load()))],
        decorator_list=[],
        type_params=[],
    )
    module = ast.fix_missing_locations(ast.Module([outer], []))
    space: dict[str, Any] = {}
    code = compile(module, inspect.getsourcefile(function) or "<script>", "exec", dont_inherit=True)
    exec(code, function.__globals__, space)
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not bound yet: a function that names itself
            cells.append(function)
    made: types.FunctionType = space["__outer__"](runtime, *cells)
    made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return functools.update_wrapper(made, function, updated=())


def _arguments(names: Sequence[str]) -> ast.arguments:
    return ast.arguments(
        posonlyargs=[],
        args=[ast.arg(n) for n in names],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[],
    )


def _stored(nodes: Sequence[ast.AST]) -> list[str]:
    """Names that these statements bind, in order, without those of inner functions."""
    found: dict[str, None] = {}
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            if isinstance(node, ast.FunctionDef):
                found[node.name] = None
            continue
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            found[node.id] = None
        stack.extend(reversed(list(ast.iter_child_nodes(node))))
    return list(found)


def _locals(node: ast.FunctionDef) -> set[str]:
    a = node.args
    own = [x.arg for x in [*a.posonlyargs, *a.args, *a.kwonlyargs]]
    own += [x.arg for x in (a.vararg, a.kwarg) if x is not None]
    return {*own, *_stored(node.body)}


def _returns(nodes: Sequence[ast.AST]) -> bool:
    return contains(nodes, (ast.Return,), ())


def _ends(nodes: Sequence[ast.stmt]) -> bool:
    """Does control never reach the end of these statements?"""
    if not nodes:
        return False
    last = nodes[-1]
    if isinstance(last, ast.Return | ast.Raise):
        return True
    return isinstance(last, ast.If) and _ends(last.body) and _ends(last.orelse)


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _tuple(items: Sequence[ast.expr], store: bool = False) -> ast.Tuple:
    return ast.Tuple(list(items), ast.Store() if store else ast.Load())


def _lambda(body: ast.expr) -> ast.Lambda:
    return ast.Lambda(_arguments([]), body)


def _runtime(method: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(_name(_RUNTIME), method, ast.Load()), list(args), [])


class _Rewriter(ast.NodeTransformer):
    """Rewrites one function whose local names are known."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.serial = 0

    def function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.body = self.block(node.body, True)
        return node

    # Statements -------------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt], outside_loops: bool) -> list[ast.stmt]:
        """outside_loops: a return here leaves nothing but the function."""
        made: list[ast.stmt] = []
        for index, statement in enumerate(body):
            if isinstance(statement, ast.If):
                if outside_loops and _returns([statement]):
                    made += self._returning(statement, body[index + 1 :])
                    return made
                made += self._if(statement, outside_loops)
            elif isinstance(statement, ast.While):
                made += self._while(statement)
            elif isinstance(statement, ast.For):
                statement.iter = self.visit(statement.iter)
                statement.body = self.block(statement.body, False)
                statement.orelse = self.block(statement.orelse, outside_loops)
                made.append(statement)
            elif isinstance(statement, ast.With):
                statement.items = [self.visit(item) for item in statement.items]
                statement.body = self.block(statement.body, False)
                made.append(statement)
            elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
                made.append(statement)
            else:
                made.append(self.visit(statement))
        return made

    def _branch(self, body: list[ast.stmt], names: Sequence[str], at: ast.AST) -> ast.FunctionDef:
        self.serial += 1
        made = ast.FunctionDef(
            name=f"__branch_{self.serial}__",
            args=_arguments(names),
            body=body or [ast.Pass()],
            decorator_list=[],
            type_params=[],
        )
        return ast.copy_location(made, at)

    def _touched(self, nodes: Sequence[ast.AST]) -> list[str]:
        used = {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}
        return sorted(used & self.names)

    def _values(self, names: Sequence[str]) -> ast.expr:
        return _tuple([_runtime("get", _lambda(_name(n))) for n in names])

    def _strings(self, names: Sequence[str]) -> ast.expr:
        return _tuple([ast.Constant(n) for n in names])

    def _returning(self, node: ast.If, rest: Sequence[ast.stmt]) -> list[ast.stmt]:
        """An `if` with a return somewhere: what follows it moves into its branches."""
        sides = []
        for body in (node.body, node.orelse):
            full = list(body) if _ends(body) else [*body, *_copied(rest)]
            if not _ends(full):
                full.append(ast.copy_location(ast.Return(ast.Constant(None)), node))
            sides.append(full)
        names = self._touched([*sides[0], *sides[1]])
        then, other = (self._branch(self.block(s, True), names, node) for s in sides)
        call = _runtime(
            "returning",
            self.visit(node.test),
            _name(then.name),
            _name(other.name),
            self._values(names),
            self._strings(names),
            ast.Constant(node.lineno),
        )
        return [then, other, ast.copy_location(ast.Return(call), node)]

    def _if(self, node: ast.If, outside_loops: bool) -> list[ast.stmt]:
        if leaves_loop([*node.body, *node.orelse]):
            node.test = _runtime("test", self.visit(node.test), ast.Constant(node.lineno))
            node.body = self.block(node.body, outside_loops)
            node.orelse = self.block(node.orelse, outside_loops)
            return [node]
        outs = [n for n in _stored([*node.body, *node.orelse]) if n in self.names]
        names = self._touched([*node.body, *node.orelse])
        result = ast.Return(_tuple([_name(n) for n in outs]))
        then, other = (
            self._branch([*self.block(s, outside_loops), result], names, node)
            for s in (node.body, node.orelse)
        )
        call = _runtime(
            "cond",
            self.visit(node.test),
            _name(then.name),
            _name(other.name),
            self._values(names),
            self._strings(names),
            self._strings(outs),
            ast.Constant(node.lineno),
        )
        return [then, other, ast.copy_location(self._assigned(outs, call), node)]

    def _assigned(self, outs: Sequence[str], call: ast.expr) -> ast.stmt:
        if not outs:
            return ast.Expr(call)
        target = _tuple([ast.Name(n, ast.Store()) for n in outs], store=True)
        return ast.Assign([target], call)

    def _while(self, node: ast.While) -> list[ast.stmt]:
        if node.orelse or leaves_loop(node.body):
            node.test = _runtime("test", self.visit(node.test), ast.Constant(node.lineno))
            node.body = self.block(node.body, False)
            return [node]
        outs = [n for n in _stored(node.body) if n in self.names]
        names = self._touched([node.test, *node.body])
        result = ast.Return(_tuple([_name(n) for n in outs]))
        test = self._branch([ast.Return(self.visit(node.test))], names, node)
        body = self._branch([*self.block(node.body, False), result], names, node)
        call = _runtime(
            "loop",
            _name(test.name),
            _name(body.name),
            self._values(names),
            self._strings(names),
            self._strings(outs),
            ast.Constant(node.lineno),
        )
        return [test, body, ast.copy_location(self._assigned(outs, call), node)]

    # Expressions ------------------------------------------------------------------------------

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        line = ast.Constant(node.lineno)
        return _runtime("choice", node.test, _lambda(node.body), _lambda(node.orelse), line)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        name = "all" if isinstance(node.op, ast.And) else "any"
        return _runtime(name, *(_lambda(value) for value in node.values))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return _runtime("negated", node.operand) if isinstance(node.op, ast.Not) else node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        words = node.msg or ast.Constant(None)
        return ast.copy_location(
            ast.Expr(_runtime("asserted", _lambda(node.test), _lambda(words))), node
        )

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return node
        node.func = ast.copy_location(_runtime("callee", node.func), node)
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node


def _copied(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    import copy

    return copy.deepcopy(list(body))
