"""break, continue and return inside loops as flags, so that their conditions may be tensors.

    for x in xs:                      stop = False
        if bad(x): break              for x in xs:
        use(x)                  ->        if stopped(stop): break     (if that is known)
                                          if not stop:
                                              if bad(x): stop = True
                                              if not stop: use(x)

What is an `if` on a flag afterwards is rewritten like any other (`convert`). Loops with an `else`, and
jumps out of `with` and `try`, stay as they are. The names begin with two underscores.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import NamedTuple

VALUE = "__value_"  # the name of what a return inside a loop returns begins so
_LOOPS = (ast.For, ast.While)
_SCOPES = (ast.FunctionDef, ast.Lambda, ast.ClassDef)
_BLOCKS = (ast.With, ast.Try)


class _Flags(NamedTuple):
    stop: str
    skip: str
    done: str
    value: str


def contains(nodes: Sequence[ast.AST], kinds: tuple[type, ...], stop: tuple[type, ...]) -> bool:
    """Is there a node of these kinds, not looking into functions nor nodes of the kinds in `stop`?"""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if isinstance(node, kinds):
            return True
        if not isinstance(node, (*_SCOPES, *stop)):
            stack.extend(ast.iter_child_nodes(node))
    return False


def leaves_loop(nodes: Sequence[ast.AST]) -> bool:
    """break or continue of the loop around, or a return."""
    return contains(nodes, (ast.Break, ast.Continue), _LOOPS) or contains(nodes, (ast.Return,), ())


class Jumps:
    """Rewrites the loops of one function. stopped: makes the call that asks for a known flag."""

    def __init__(self, stopped: Callable[[ast.expr], ast.expr]) -> None:
        self.stopped = stopped
        self.serial = 0

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The statements with flags for jumps, inner loops first."""
        made: list[ast.stmt] = []
        for statement in body:
            if not isinstance(statement, _SCOPES):
                for field in ("body", "orelse"):
                    inner = getattr(statement, field, None)
                    if isinstance(inner, list):
                        setattr(statement, field, self.block(inner))
            made += self._loop(statement) if isinstance(statement, _LOOPS) else [statement]
        return made

    def _loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        blocks = [b for n in node.body for b in ast.walk(n) if isinstance(b, _BLOCKS)]
        if node.orelse or not leaves_loop(node.body) or leaves_loop(blocks):
            return [node]
        self.serial += 1
        flags = _Flags(*(f"__{n}_{self.serial}__" for n in ("stop", "skip", "done", "value")))
        returns = contains(node.body, (ast.Return,), ())
        stops = returns or contains(node.body, (ast.Break,), _LOOPS)
        skips = contains(node.body, (ast.Continue,), _LOOPS)
        used = [flags.stop] * stops + [flags.skip] * skips
        body = self._guarded(node.body, flags, used)
        if skips:
            body = [_set(flags.skip, False, node), *body]
        before, after = [_set(flags.stop, False, node)] * stops, []
        if returns:
            before.append(_set(flags.done, False, node))
            back = ast.copy_location(ast.Return(_name(flags.value)), node)
            after = [_if(_name(flags.done), [back], node)]
        if stops and isinstance(node, ast.While):
            node.test = ast.BoolOp(ast.And(), [_not([flags.stop]), node.test])
            ast.copy_location(node.test, node)
        elif stops:
            known = self.stopped(_name(flags.stop))
            leave = _if(known, [ast.copy_location(ast.Break(), node)], node)
            body = [leave, _if(_not([flags.stop]), body, node)]
        node.body = body
        return [*before, node, *after]

    def _guarded(
        self, body: Sequence[ast.stmt], flags: _Flags, used: Sequence[str]
    ) -> list[ast.stmt]:
        """A loop's statements; those after a possible jump only run if there was none."""
        made: list[ast.stmt] = []
        for index, statement in enumerate(body):
            if isinstance(statement, ast.Break):
                return [*made, _set(flags.stop, True, statement)]
            if isinstance(statement, ast.Continue):
                return [*made, _set(flags.skip, True, statement)]
            if isinstance(statement, ast.Return):
                value = statement.value or ast.Constant(None)
                target = ast.Name(flags.value, ast.Store())
                made.append(ast.copy_location(ast.Assign([target], value), statement))
                flagged = (flags.done, flags.stop)
                return [*made, *(_set(flag, True, statement) for flag in flagged)]
            if isinstance(statement, ast.If) and leaves_loop([statement]):
                sides = (self._guarded(s, flags, used) for s in (statement.body, statement.orelse))
                statement.body, statement.orelse = sides
                made.append(statement)
                rest = self._guarded(body[index + 1 :], flags, used)
                return [*made, _if(_not(used), rest, statement)] if rest else made
            made.append(statement)
        return made


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _set(name: str, value: bool, at: ast.AST) -> ast.stmt:
    made = ast.Assign([ast.Name(name, ast.Store())], ast.Constant(value))
    return ast.copy_location(made, at)


def _not(names: Sequence[str]) -> ast.expr:
    """None of these flags is set."""
    items: list[ast.expr] = [_name(n) for n in names]
    return ast.UnaryOp(ast.Not(), items[0] if len(items) == 1 else ast.BoolOp(ast.Or(), items))


def _if(test: ast.expr, body: list[ast.stmt], at: ast.AST) -> ast.If:
    made = ast.copy_location(ast.If(test, body, []), at)
    return ast.fix_missing_locations(made)
