"""What rewritten functions call: control flow that Python decides if it can, and XLA if it must.

Outside of a capture a condition is read and Python takes its branch. While a program is captured, a
condition that is a tensor has no value: then both branches are captured and become `lax.cond`, a
loop becomes `lax.while_loop`.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from funtorch import dtypes
from funtorch.dispatch import read
from funtorch.func.flow import Part, conditional, part, repeated
from funtorch.func.pure import is_leaf, tree
from funtorch.jit.convert import converted
from funtorch.jit.jumps import VALUE
from funtorch.lowering.record import owner
from funtorch.nn.module import Module
from funtorch.ops.creation import zeros_at
from funtorch.ops.from_data import tensor
from funtorch.tensor import Tensor

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


def _captured(function: Callable[..., Any], values: Values, line: int) -> Part:
    """Capture a branch with placeholders for the tensors among the variables' values."""
    place = owner().capture.place  # type: ignore[union-attr]
    return part(function, values, place, f"line {line}: a branch on a tensor")


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
                f"line {line}: the condition is a tensor, and a loop's else, or break, continue or "
                "return out of `with` or `try`, cannot become part of a program; use a flag instead"
            )
        return test

    def stopped(self, flag: Any) -> bool:
        """Is a loop known to be over?"""
        return not _unknown(flag) and bool(flag)

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
        one, two = _captured(then, values, line), _captured(other, values, line)
        one, two = _aligned(one, two, then, other, values, line, outs)
        return (one.rebuilt(conditional("cond", test, tensors, one, two)),)

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
        if any(n.startswith(VALUE) and current[n] is UNDEFINED for n in outs):
            self._begin(body, current, outs, line)
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

        one, two = _captured(test, values, line), _captured(step, values, line)
        if one.written or set(two.written) - set(at):
            raise ControlFlowError(
                f"line {line}: a tensor is changed in place in a loop whose condition is a tensor; "
                "assign a new one instead"
            )
        made = repeated("while_loop", one, two, tensors, tuple(at))
        news = dict(zip(carried, made, strict=True))
        for name, index in zip(carried, at, strict=True):
            if index in two.written:  # `x += ...` changes the tensor that it began with
                news[name] = current[name]._replace(news[name])
        return tuple(news.get(n, UNDEFINED) for n in outs)

    def _begin(self, body: Any, current: dict[str, Any], outs: Names, line: int) -> None:
        """Zeros for what the loop may return, which is not defined before it does."""
        found: dict[str, Any] = {}

        def looked(*given: Any) -> Any:
            found.update(zip(outs, body(*given), strict=True))
            return ()

        _captured(looked, tuple(current.values()), line)
        for name, value in found.items():
            if name.startswith(VALUE) and isinstance(value, Tensor):
                current[name] = _zeros(read(value).aval)

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
    one: Part, two: Part, then: Any, other: Any, values: Values, line: int, outs: Names
) -> tuple[Part, Part]:
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
            turn.add((i, _meant(a, b, outs[i] if i < len(outs) else "", one, two)))
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
        one = _captured(wrap_side(then), values, line)
        two = _captured(wrap_side(other), values, line)
    _check_same(one, two, line, outs)
    return one, two


def _meant(a: Any, b: Any, name: str, one: Part, two: Part) -> Any:
    """What stands for a variable that one branch leaves undefined: nothing, but for what a loop
    returns zeros, which nobody reads."""
    branch, known = (two, b) if a is UNDEFINED else (one, a)
    if not name.startswith(VALUE) or not isinstance(known, Tensor):
        return "undefined"
    index = next(k for k, i in enumerate(branch.tensors) if branch.leaves[i] is known)
    return branch.captured.program.output_avals()[index]


def _zeros(aval: Any) -> Tensor:
    return zeros_at(aval.shape, dtypes.of(aval.dtype), aval.place)


def _turned(function: Any, turn: dict[int, Any]) -> Any:
    def run(*values: Any) -> Any:
        result = function(*values)
        leaves, structure = tree.tree_flatten(result, is_leaf=is_leaf)
        place = owner().capture.place  # type: ignore[union-attr]
        for index, kind in turn.items():
            if kind == "undefined":
                leaves[index] = UNDEFINED
            elif leaves[index] is UNDEFINED:
                leaves[index] = _zeros(kind)
            elif not isinstance(leaves[index], Tensor):
                leaves[index] = _as_tensor(leaves[index], place)
        return tree.tree_unflatten(structure, leaves)

    return run


def _check_same(one: Part, two: Part, line: int, outs: Names) -> None:
    for index, a, b in zip(one.tensors, one.avals(), two.avals(), strict=True):
        if a.shape != b.shape or jnp.dtype(a.dtype) != jnp.dtype(b.dtype):
            name = outs[index] if index < len(outs) else "the result"
            raise ControlFlowError(
                f"line {line}: {name!r} is {a!r} if the condition holds and {b!r} if not: shape "
                "and type must be the same"
            )
