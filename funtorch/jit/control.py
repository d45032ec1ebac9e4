"""What rewritten functions call: control flow that Python decides if it can, and XLA if it must.

Outside of a capture a condition is read and Python takes its branch. While a program is captured, a
condition that is a tensor has no value: then both branches are captured and become `lax.cond`, a
loop becomes `lax.while_loop`.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funtorch.dispatch import read
from funtorch.func.pure import is_leaf, record_nested, tree
from funtorch.func.stateful import check_written
from funtorch.jit.convert import converted
from funtorch.lowering import Captured, capture
from funtorch.lowering.record import owner
from funtorch.lowering.symbolic import Nested
from funtorch.nn.module import Module
from funtorch.ops.from_data import tensor
from funtorch.tensor import Tensor, wrap

Names = tuple[str, ...]
Values = tuple[Any, ...]


class ControlFlowError(RuntimeError):
    """Control flow on a tensor that cannot become part of a program. Names the line."""


class _Undefined:
    def __repr__(self) -> str:
        return "<not defined on this path>"

    def __bool__(self) -> bool:
        raise NameError("a variable is used that is not defined on this path")


UNDEFINED = _Undefined()


def _unknown(test: Any) -> bool:
    """Is this a condition whose value is not known while capturing?"""
    if not isinstance(test, Tensor) or owner().capture is None:
        return False
    return read(test).array is None


class _Branch(NamedTuple):
    captured: Captured
    leaves: list[Any]
    structure: Any
    tensors: list[int]  # which leaves are tensors
    written: tuple[int, ...]  # which of the arguments' tensors were changed in place
    closed: list[Tensor]


def _captured(
    function: Callable[..., Any], values: Values, tensors: Sequence[Tensor], line: int
) -> _Branch:
    """Capture a branch with placeholders for the tensors among the variables' values."""
    place = owner().capture.place  # type: ignore[union-attr]
    leaves, structure = tree.tree_flatten(values, is_leaf=is_leaf)
    with capture(place) as recorder:
        recorder.trace.written = {}
        inputs = [wrap(recorder.placeholder(read(t).aval)) for t in tensors]
        fill = iter(inputs)
        full = [next(fill) if isinstance(x, Tensor) else x for x in leaves]
        try:
            result = function(*tree.tree_unflatten(structure, full))
            outs, out_tree = tree.tree_flatten(result, is_leaf=is_leaf)
            where = [i for i, x in enumerate(outs) if isinstance(x, Tensor)]
            after = [read(t) for t in inputs]
            pairs = enumerate(zip(after, recorder.placeholders, strict=True))
            written = tuple(i for i, (now, then) in pairs if now is not then)
        finally:
            known = [t._storage for t in inputs]
            words = f"line {line}: a branch on a tensor"
            check_written(recorder, known, words)
        wanted = [*(read(outs[i]) for i in where), *(after[i] for i in written)]
        captured = recorder.finish(wanted)
    origins = recorder.trace.origins
    closed = [origins.get(v) or wrap(v) for v in captured.closed_over]
    return _Branch(captured, outs, out_tree, where, written, closed)


class Control:
    """The runtime of rewritten functions."""

    def __init__(self) -> None:
        self.known: dict[Any, Any] = {}

    # Conditions -------------------------------------------------------------------------------

    def get(self, thunk: Callable[[], Any]) -> Any:
        """A variable's value, or UNDEFINED."""
        try:
            return thunk()
        except NameError:
            return UNDEFINED

    def test(self, test: Any, line: int) -> Any:
        """A condition that only Python can decide."""
        if _unknown(test):
            raise ControlFlowError(
                f"line {line}: the condition is a tensor, and break, continue or return inside a "
                "loop (or a loop's else) cannot become part of a program; use a flag instead"
            )
        return test

    def negated(self, value: Any) -> Any:
        """`not`."""
        return value.logical_not() if _unknown(value) else not value

    def all(self, *thunks: Callable[[], Any]) -> Any:
        """`and`."""
        value: Any = True
        for thunk in thunks:
            if _unknown(value):
                other = thunk()
                value = value.bool() & (other.bool() if isinstance(other, Tensor) else bool(other))
            elif value:
                value = thunk()
        return value

    def any(self, *thunks: Callable[[], Any]) -> Any:
        """`or`."""
        value: Any = False
        for thunk in thunks:
            if _unknown(value):
                other = thunk()
                value = value.bool() | (other.bool() if isinstance(other, Tensor) else bool(other))
            elif not value:
                value = thunk()
        return value

    def asserted(self, test: Callable[[], Any], words: Callable[[], Any]) -> None:
        """`assert`; a program cannot raise, so what it would need to know is not checked in one."""
        found = test()
        if not _unknown(found) and not found:
            raise AssertionError(*(w for w in (words(),) if w is not None))

    # Branches ---------------------------------------------------------------------------------

    def choice(self, test: Any, then: Any, other: Any, line: int) -> Any:
        """`then if test else other`."""
        if not _unknown(test):
            return then() if test else other()
        return self._select(test, then, other, (), line)[0]

    def returning(
        self, test: Any, then: Any, other: Any, values: Values, names: Names, line: int
    ) -> Any:
        """An `if` whose branches return from the function."""
        if not _unknown(test):
            return then(*values) if test else other(*values)
        return self._select(test, then, other, values, line)[0]

    def cond(
        self,
        test: Any,
        then: Any,
        other: Any,
        values: Values,
        names: Names,
        outs: Names,
        line: int,
    ) -> Any:
        """An `if` whose branches give new values to `outs`."""
        if not _unknown(test):
            return then(*values) if test else other(*values)
        return self._select(test, then, other, values, line, outs)[0]

    def _select(
        self, test: Tensor, then: Any, other: Any, values: Values, line: int, outs: Names = ()
    ) -> tuple[Any]:
        flat = tree.tree_leaves(values, is_leaf=is_leaf)
        tensors = [x for x in flat if isinstance(x, Tensor)]
        one = _captured(then, values, tensors, line)
        two = _captured(other, values, tensors, line)
        one, two = _aligned(one, two, then, other, values, tensors, line, outs)
        written = tuple(sorted({*one.written, *two.written}))
        places = len(one.tensors)
        make = functools.partial(_cond, len(tensors), len(one.closed), one, two, written)
        key = (one.captured.key, two.captured.key, written)
        nested = _nested(key, (one, two), make)
        operands = [test, *tensors, *one.closed, *two.closed]
        made = record_nested("cond", nested, operands)
        for index, new in zip(written, made[places:], strict=True):
            tensors[index]._replace(new)
        leaves = list(one.leaves)
        for index, out in zip(one.tensors, made[:places], strict=True):
            leaves[index] = out
        return (tree.tree_unflatten(one.structure, leaves),)

    # Loops ------------------------------------------------------------------------------------

    def loop(
        self, test: Any, body: Any, values: Values, names: Names, outs: Names, line: int
    ) -> Any:
        """`while`: in Python as long as the condition is known."""
        current = dict(zip(names, values, strict=True))
        while True:
            found = test(*current.values())
            if _unknown(found):
                return self._while(test, body, current, outs, line)
            if not found:
                return tuple(current[n] for n in outs)
            current.update(zip(outs, body(*current.values()), strict=True))

    def _while(
        self, test: Any, body: Any, current: dict[str, Any], outs: Names, line: int
    ) -> Values:
        """The rest of a loop as `lax.while_loop`; what it changes is carried along."""
        place = owner().capture.place  # type: ignore[union-attr]
        carried = [n for n in outs if current[n] is not UNDEFINED]
        for name in carried:
            if isinstance(current[name], bool | int | float):
                current[name] = _as_tensor(current[name], place)
            if not isinstance(current[name], Tensor):
                raise ControlFlowError(
                    f"line {line}: {name!r} changes in a loop whose condition is a tensor, but is "
                    f"a {type(current[name]).__name__}: only tensors and numbers can be carried"
                )
        values = tuple(current.values())
        flat = tree.tree_leaves(values, is_leaf=is_leaf)
        tensors = [x for x in flat if isinstance(x, Tensor)]
        keep = [outs.index(n) for n in carried]
        at = [next(i for i, t in enumerate(tensors) if t is current[n]) for n in carried]

        def step(*given: Any) -> Any:
            news = body(*given)
            return tuple(_as_like(news[k], current[n], n, line) for k, n in zip(keep, carried))

        one = _captured(test, values, tensors, line)
        two = _captured(step, values, tensors, line)
        if one.written or set(two.written) - set(at):
            raise ControlFlowError(
                f"line {line}: a tensor is changed in place in a loop whose condition is a tensor; "
                "assign a new one instead"
            )
        make = functools.partial(_loop, len(tensors), len(one.closed), tuple(at))
        nested = _nested((one.captured.key, two.captured.key, tuple(at)), (one, two), make)
        made = record_nested("while_loop", nested, [*tensors, *one.closed, *two.closed])
        news = dict(zip(carried, made, strict=True))
        for name, index in zip(carried, at, strict=True):
            if index in two.written:  # `x += ...` changes the tensor that it began with
                news[name] = current[name]._replace(news[name])
        return tuple(news.get(n, UNDEFINED) for n in outs)

    # Calls ------------------------------------------------------------------------------------

    def callee(self, function: Any) -> Any:
        """What to call instead of `function` so that control flow within is rewritten too."""
        if isinstance(function, Module):
            return functools.partial(self.call_module, function)
        if isinstance(function, types.MethodType):
            inner = self.rewritten(function.__func__)
            return function if inner is function.__func__ else inner.__get__(function.__self__)
        if isinstance(function, types.FunctionType):
            return self.rewritten(function)
        return function

    def call_module(self, module: Module, *args: Any, **kwargs: Any) -> Any:
        """Call a module, hooks and all, with its forward rewritten."""
        forward = module.forward
        target = self.callee(forward)
        if target is forward or target == forward:
            return module(*args, **kwargs)
        own = module.__dict__
        before = own.get("forward")
        own["forward"] = target
        try:
            return module(*args, **kwargs)
        finally:
            if before is None:
                own.pop("forward", None)
            else:
                own["forward"] = before

    def rewritten(self, function: Any) -> Any:
        """A user's function with its control flow rewritten; ours and ignored ones as they are."""
        found = self.known.get(function)
        if found is None:
            home = (getattr(function, "__module__", None) or "").split(".")[0]
            skip = home in ("funtorch", "torch", "jax", "numpy")
            skip = skip or getattr(function, "_torchscript_modifier", "") in ("ignore", "unused")
            found = function if skip else converted(function, self)
            self.known[function] = self.known[found] = found
        return found


control = Control()

Runner = Callable[[Sequence[Any]], list[Any]]


def _nested(key: Any, branches: Sequence[_Branch], make: Any) -> Nested:
    captured = [b.captured for b in branches]
    return Nested(key, [c.program for c in captured], [c.scalars for c in captured], make)


def _cond(
    n: int, k: int, one: _Branch, two: _Branch, written: tuple[int, ...], runners: list[Runner]
) -> Callable[[Sequence[Any]], list[Any]]:
    """lax.cond of (condition, n variables, k constants of the first branch, those of the second)."""

    def side(runner: Runner, branch: _Branch, first: int) -> Callable[[Any], list[Any]]:
        places = len(branch.tensors)
        last = first + len(branch.closed)

        def run(arrays: Any) -> list[Any]:
            made = runner([*arrays[:n], *arrays[first:last]])
            news = dict(zip(branch.written, made[places:], strict=True))
            return [*made[:places], *(news.get(i, arrays[i]) for i in written)]

        return run

    def pure(arrays: Sequence[Any]) -> list[Any]:
        yes = arrays[0].reshape(()) != 0
        sides = side(runners[0], one, n), side(runners[1], two, n + k)
        return jax.lax.cond(yes, *sides, list(arrays[1:]))

    return pure


def _loop(
    n: int, k: int, at: tuple[int, ...], runners: list[Runner]
) -> Callable[[Sequence[Any]], list[Any]]:
    """lax.while_loop of (n variables, k constants of the test, those of the body)."""

    def pure(arrays: Sequence[Any]) -> list[Any]:
        fixed, first, second = arrays[:n], arrays[n : n + k], arrays[n + k :]

        def full(carry: Any, rest: Sequence[Any]) -> list[Any]:
            made = list(fixed)
            for index, x in zip(at, carry, strict=True):
                made[index] = x
            return [*made, *rest]

        return jax.lax.while_loop(
            lambda carry: runners[0](full(carry, first))[0].reshape(()) != 0,
            lambda carry: runners[1](full(carry, second))[: len(at)],
            [fixed[i] for i in at],
        )

    return pure


def _as_tensor(number: Any, place: Any) -> Tensor:
    from funtorch.device import device_of

    return tensor(number, device=device_of(place))


def _as_like(new: Any, old: Tensor, name: str, line: int) -> Tensor:
    aval = read(old).aval
    if isinstance(new, bool | int | float):
        new = _as_tensor(new, aval.place).to(old.dtype)
    if not isinstance(new, Tensor) or read(new).aval is not aval:
        shown = read(new).aval if isinstance(new, Tensor) else type(new).__name__
        raise ControlFlowError(
            f"line {line}: in a loop whose condition is a tensor, {name!r} begins as {aval!r} and "
            f"becomes {shown!r}: shape and type must stay the same"
        )
    return new


def _aligned(
    one: _Branch,
    two: _Branch,
    then: Any,
    other: Any,
    values: Values,
    tensors: Sequence[Tensor],
    line: int,
    outs: Names,
) -> tuple[_Branch, _Branch]:
    """The branches with the same outputs; numbers in which they differ become tensors."""
    if one.structure != two.structure:
        raise ControlFlowError(
            f"line {line}: the branches return different structures: {one.structure} and "
            f"{two.structure}"
        )
    turn = set()
    for i, (a, b) in enumerate(zip(one.leaves, two.leaves, strict=True)):
        number = isinstance(a, bool | int | float | Tensor) and isinstance(
            b, bool | int | float | Tensor
        )
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            continue
        if a is UNDEFINED or b is UNDEFINED:
            turn.add((i, "undefined"))
        elif number and (type(a) is not type(b) or a != b):
            turn.add((i, "tensor"))
        elif type(a) is not type(b) or a != b:
            name = outs[i] if i < len(outs) else "the result"
            raise ControlFlowError(
                f"line {line}: {name!r} is {a!r} in one branch and {b!r} in the other; only "
                "tensors and numbers may depend on a tensor"
            )
    if turn:
        wrap_side = functools.partial(_turned, turn=dict(turn))
        one = _captured(wrap_side(then), values, tensors, line)
        two = _captured(wrap_side(other), values, tensors, line)
    _check_same(one, two, line, outs)
    return one, two


def _turned(function: Any, turn: dict[int, str]) -> Any:
    def run(*values: Any) -> Any:
        result = function(*values)
        leaves, structure = tree.tree_flatten(result, is_leaf=is_leaf)
        place = owner().capture.place  # type: ignore[union-attr]
        for index, kind in turn.items():
            if kind == "undefined":
                leaves[index] = UNDEFINED
            elif not isinstance(leaves[index], Tensor):
                leaves[index] = _as_tensor(leaves[index], place)
        return tree.tree_unflatten(structure, leaves)

    return run


def _check_same(one: _Branch, two: _Branch, line: int, outs: Names) -> None:
    avals = [b.captured.program.output_avals()[: len(b.tensors)] for b in (one, two)]
    for index, a, b in zip(one.tensors, *avals, strict=True):
        if a.shape != b.shape or jnp.dtype(a.dtype) != jnp.dtype(b.dtype):
            name = outs[index] if index < len(outs) else "the result"
            raise ControlFlowError(
                f"line {line}: {name!r} is {a!r} if the condition holds and {b!r} if not: shape "
                "and type must be the same"
            )
