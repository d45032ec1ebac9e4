"""Control flow as ops: functions captured once, run by `lax.cond`, `lax.while_loop`, `lax.scan`.

Shared by `torch.cond` and its kin, by `torch.jit.script`, and by the subgraphs of loaded ONNX models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from funtorch import random_mode
from funtorch.dispatch import read
from funtorch.func.loops import while_loop
from funtorch.func.pure import closed_over, is_leaf, record_nested, tree
from funtorch.func.stateful import check_written
from funtorch.grad_mode import capturing
from funtorch.lowering import Aval, Captured, aval_of, capture
from funtorch.lowering.symbolic import Nested
from funtorch.ops._draw import fresh_key
from funtorch.ops.keyed import _key_fold
from funtorch.tensor import Tensor, wrap

Arrays = Sequence[Any]
Runner = Callable[[Arrays], list[Any]]


class Function(Protocol):
    """What is needed of a captured function: a `Part`, or what `func.pure.trace` returns."""

    @property
    def captured(self) -> Captured: ...
    @property
    def closed_over(self) -> list[Tensor]: ...


class Part(NamedTuple):
    """A captured branch or body. `leaves` are those of its result, tensors at the indices `tensors`.

    Outputs of its program: those tensors, then the new values of the arguments at `written`.
    """

    captured: Captured
    leaves: list[Any]
    structure: Any
    tensors: list[int]
    written: tuple[int, ...]
    closed_over: list[Tensor]

    def avals(self) -> list[Aval]:
        """Those of the tensors in the result."""
        return list(self.captured.program.output_avals())[: len(self.tensors)]

    def rebuilt(self, tensors: Sequence[Any]) -> Any:
        """The result with these tensors."""
        leaves = list(self.leaves)
        for index, made in zip(self.tensors, tensors, strict=True):
            leaves[index] = made
        return tree.tree_unflatten(self.structure, leaves)


def part(
    function: Callable[..., Any],
    values: tuple[Any, ...],
    place: Any,
    words: str,
    check: Callable[[Sequence[Tensor], Any], None] | None = None,
) -> Part:
    """Capture `function(*values)` with placeholders for the tensors and the avals among the values.

    check(placeholders, result) may raise. Raises RuntimeError, beginning with `words`, if a tensor
    from outside is changed in place.
    """
    leaves, structure = tree.tree_flatten(values, is_leaf=_is_placed)
    avals = [x if isinstance(x, Aval) else read(x).aval for x in leaves if _is_placed(x)]
    with capturing(), capture(place) as recorder:
        recorder.trace.written = {}
        inputs = [wrap(recorder.placeholder(aval)) for aval in avals]
        fill = iter(inputs)
        full = [next(fill) if _is_placed(x) else x for x in leaves]
        try:
            result = function(*tree.tree_unflatten(structure, full))
            if check is not None:
                check(inputs, result)
            outs, out_tree = tree.tree_flatten(result, is_leaf=is_leaf)
            where = [i for i, x in enumerate(outs) if isinstance(x, Tensor)]
            after = [read(t) for t in inputs]
            pairs = enumerate(zip(after, recorder.placeholders, strict=True))
            written = tuple(i for i, (now, then) in pairs if now is not then)
        finally:
            check_written(recorder, [t._storage for t in inputs], words)
        wanted = [*(read(outs[i]) for i in where), *(after[i] for i in written)]
        captured = recorder.finish(wanted)
    closed = closed_over(recorder, captured)
    return Part(captured, outs, out_tree, where, written, closed)


def _is_placed(node: Any) -> bool:
    return isinstance(node, Tensor | Aval)


def nested(
    parts: Sequence[Function], make: Callable[[list[Runner]], Runner], fixed: Any = ()
) -> Nested:
    """The static side of an op that holds these parts. fixed: what else decides on `make`."""
    captured = [p.captured for p in parts]
    key = (*(c.key for c in captured), fixed)
    return Nested(key, [c.program for c in captured], [c.scalars for c in captured], make, fixed)


# A condition -------------------------------------------------------------------------------------


def conditional(
    name: str, test: Tensor, tensors: Sequence[Tensor], one: Part, two: Part
) -> list[Tensor]:
    """The tensors of `one` if test holds, else those of `two`; writes what the branches wrote."""
    written = tuple(sorted({*one.written, *two.written}))
    sides = [(len(p.tensors), p.written) for p in (one, two)]
    sizes = len(tensors), len(one.closed_over)
    make = functools.partial(_conditional, sizes, sides, written)
    operands = [test, *tensors, *one.closed_over, *two.closed_over]
    made = record_nested(name, nested([one, two], make, written), operands)
    places = len(one.tensors)
    for index, new in zip(written, made[places:], strict=True):
        tensors[index]._replace(new)
    return made[:places]


def _conditional(sizes: Any, sides: Any, written: tuple[int, ...], runners: list[Runner]) -> Runner:
    """lax.cond of (condition, n variables, k constants of the first branch, those of the second)."""
    n, k = sizes

    def side(runner: Runner, outputs: Any, first: int, last: int | None) -> Callable[..., Any]:
        places, own = outputs

        def run(arrays: Any) -> list[Any]:
            made = runner([*arrays[:n], *arrays[first:last]])
            news = dict(zip(own, made[places:], strict=True))
            return [*made[:places], *(news.get(i, arrays[i]) for i in written)]

        return run

    def pure(arrays: Arrays) -> list[Any]:
        yes = arrays[0].reshape(()) != 0
        first = side(runners[0], sides[0], n, n + k)
        second = side(runners[1], sides[1], n + k, None)
        return jax.lax.cond(yes, first, second, list(arrays[1:]))  # type: ignore[no-any-return]

    return pure


# Loops -------------------------------------------------------------------------------------------


def repeated(
    name: str, test: Function, body: Function, tensors: Sequence[Tensor], at: tuple[int, ...]
) -> list[Tensor]:
    """`while test(*tensors)`: body's outputs replace those at `at`, of which the last are returned."""
    sizes = len(tensors), len(test.closed_over)
    make = functools.partial(_repeated, sizes, at)
    operands = [*tensors, *test.closed_over, *body.closed_over]
    return record_nested(name, nested([test, body], make, at), operands)


def _repeated(sizes: tuple[int, int], at: tuple[int, ...], runners: list[Runner]) -> Runner:
    """A while loop of (n variables, k constants of the test, those of the body)."""
    n, k = sizes

    def full(state: Arrays, consts: Arrays, rest: Arrays) -> list[Any]:
        made = list(consts[:n])
        for index, x in zip(at, state, strict=True):
            made[index] = x
        return [*made, *rest]

    def going(state: Arrays, consts: Arrays) -> Any:
        return runners[0](full(state, consts, consts[n : n + k]))[0].reshape(()) != 0

    def step(state: Arrays, consts: Arrays) -> list[Any]:
        return runners[1](full(state, consts, consts[n + k :]))[: len(at)]

    def pure(arrays: Arrays) -> list[Any]:
        return while_loop(going, step, [arrays[i] for i in at], list(arrays))

    return pure


def scanned(
    name: str, body: Function, state: Sequence[Tensor], xs: Sequence[Tensor], reverse: bool = False
) -> list[Tensor]:
    """The last state, and the body's further outputs stacked along a new first dimension.

    body: (state, one slice of each of xs) -> (state, further outputs)
    """
    make = functools.partial(_scanned, len(state), len(xs), reverse)
    operands = [*state, *xs, *body.closed_over]
    return record_nested(name, nested([body], make, (len(state), reverse)), operands)


def _scanned(n: int, k: int, reverse: bool, runners: list[Runner]) -> Runner:
    def pure(arrays: Arrays) -> list[Any]:
        closed = arrays[n + k :]

        def step(now: Any, x: Any) -> Any:
            outs = runners[0]([*now, *x, *closed])
            return tuple(outs[:n]), tuple(outs[n:])

        begin, xs = tuple(arrays[:n]), tuple(arrays[n : n + k])
        last, stacks = jax.lax.scan(step, begin, xs, reverse=reverse)
        return [*last, *stacks]

    return pure


# Random numbers in loops -------------------------------------------------------------------------


class Keyed:
    """A loop's body with a random key as its first argument and first output.

    Each step draws from a key of its own, so that the steps differ. `drawn`: was any number drawn?
    If not, the body is `plain` and the key no output.
    """

    def __init__(self, body: Callable[..., Any]) -> None:
        self.body = body
        self.drawn = False

    def __call__(self, key: Tensor, *args: Any) -> Any:
        """(the next step's key or None, the body's result)."""
        with random_mode.randomness_within(random_mode.state.randomness, key):
            result = self.body(*args)
            self.drawn = random_mode.state.draws > 0
        return _key_fold(key, 0) if self.drawn else None, result

    @staticmethod
    def aval(place: Any) -> Aval:
        """The key's."""
        return aval_of((2,), jax.numpy.dtype("uint32"), place)

    def first(self, place: Any) -> list[Tensor]:
        """The key to begin with, if there is one."""
        return [fresh_key(place)] if self.drawn else []

    def plain(self, found: Part) -> Part:
        """The captured body, without its key if nothing was drawn."""
        if self.drawn:
            return found
        program = found.captured.program
        without = program._replace(leaves=program.leaves[1:], leaf_avals=program.leaf_avals[1:])
        key = ("plain", found.captured.key)
        return found._replace(captured=found.captured._replace(program=without, key=key))
