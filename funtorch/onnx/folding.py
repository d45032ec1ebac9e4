"""Control flow within the program: subgraphs traced once, run by `lax.scan`, `while_loop`, `cond`.

A subgraph can be folded if its values keep their shapes and types from one step to the next and
nothing in it has to be read on the host; otherwise `NeedsHost` is raised and Python takes over.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.dispatch import read
from funtorch.func.flow import Runner, nested, scanned
from funtorch.func.loops import while_loop
from funtorch.func.pure import Traced, aval_without, record_nested, split, trace
from funtorch.lowering import Aval, aval_of
from funtorch.onnx.graph import Plan, plans
from funtorch.tensor import Tensor

_RANDOM = {
    "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
}  # fmt: skip


class NeedsHost(Exception):  # noqa: N818  (no error: it asks for the other way)
    """This subgraph cannot be folded."""


class Body(NamedTuple):
    """A traced subgraph: host-known outputs are in `known`, all others come from `traced`."""

    traced: Traced
    avals: list[Aval]
    known: dict[int, Any]


def draws(plan: Plan) -> bool:
    """Is there randomness in a plan? A folded one would draw the same in every step."""
    return any(step.op in _RANDOM for part in plans(plan) for step in part.steps)


def traced_body(
    ctx: Any, plan: Plan, tensors: Sequence[Tensor], avals: Sequence[Aval], arrange: Any, keep: int
) -> Body:
    """Trace a subgraph on placeholders of these avals, in place of `tensors`.

    arrange(placeholders) -> the subgraph's inputs; its first `keep` outputs may stay on the host.
    """
    if draws(plan):
        raise NeedsHost
    found: list[Aval] = []
    known: dict[int, Any] = {}

    def function(*placeholders: Tensor) -> Any:
        outputs = ctx.subgraph(plan, arrange(placeholders))
        made = []
        for i, value in enumerate(outputs):
            if i < keep and isinstance(value, np.ndarray):
                known[i] = value
                continue
            tensor = ctx.tensor(value)
            if not isinstance(tensor, Tensor):
                raise NeedsHost
            made.append(tensor)
        found.extend(read(t).aval for t in made)
        return tuple(made)

    with ctx.folding():
        traced = trace(function, avals, split(tuple(tensors), {})[1])
    return Body(traced, found, known)


def _alike(a: Aval, b: Aval) -> bool:
    return tuple(a.shape) == tuple(b.shape) and a.dtype == b.dtype


def _avals(tensors: Sequence[Tensor]) -> list[Aval]:
    return [read(t).aval for t in tensors]


def scan(ctx: Any, plan: Plan, carried: list[Any], over: list[Tensor]) -> list[Tensor]:
    """`lax.scan`: the last carried values, and the yields stacked along a new first axis."""
    state = [ctx.tensor(v) for v in carried]
    if not over or not all(isinstance(t, Tensor) for t in state) or over[0].shape[0] < 2:
        raise NeedsHost
    n = len(state)
    avals = [*_avals(state), *[aval_without(a, 0) for a in _avals(over)]]
    body = traced_body(ctx, plan, [*state, *over], avals, list, 0)
    if not all(_alike(a, b) for a, b in zip(avals[:n], body.avals, strict=False)):
        raise NeedsHost
    return scanned("onnx_scan", body.traced, state, over)


def loop(
    ctx: Any, plan: Plan, most: int, on: bool, carried: list[Any], certain: bool = False
) -> list[Tensor]:
    """`lax.scan` over the steps if the condition stays true, else `lax.while_loop`.

    certain: `most` already is the number of steps, whatever the condition says.
    """
    state = [ctx.tensor(v) for v in carried]
    if not state or not all(isinstance(t, Tensor) for t in state) or most < 2 or not on:
        raise NeedsHost
    n = len(state)
    own = _avals(state)
    count = aval_of((), np.dtype(np.int64), own[0].place)
    counter = ctx.tensor(np.array(0, np.int64))

    def arrange(placeholders: Sequence[Tensor]) -> list[Any]:
        return [placeholders[n], np.array(True), *placeholders[:n]]

    body = traced_body(ctx, plan, [*state, counter], [*own, count], arrange, 1)
    first = 0 if body.known else 1
    if not all(_alike(a, b) for a, b in zip(own, body.avals[first:], strict=False)):
        raise NeedsHost
    operands = [*state, *body.traced.closed_over]
    if body.known or certain:
        if not certain and not np.asarray(body.known[0]).all():
            raise NeedsHost
        make = functools.partial(_counted, n, most, first)
        return record_nested("onnx_loop", nested([body.traced], make, (most, first)), operands)
    if len(body.avals) > n + 1:
        raise NeedsHost  # of unknown length, there is nothing to stack
    make = functools.partial(_until, n, most)
    return record_nested("onnx_while", nested([body.traced], make, most), operands)


def _counted(n: int, most: int, first: int, runners: list[Runner]) -> Runner:
    """`first` outputs of the body come before the state."""

    def pure(arrays: Sequence[Any]) -> list[Any]:
        def step(now: Any, index: Any) -> Any:
            outs = runners[0]([*now, index, *arrays[n:]])[first:]
            return tuple(outs[:n]), tuple(outs[n:])

        last, stacks = lax.scan(step, tuple(arrays[:n]), jnp.arange(most, dtype=jnp.int64))
        return [*last, *stacks]

    return pure


def _until(n: int, most: int, runners: list[Runner]) -> Runner:
    def pure(arrays: Sequence[Any]) -> list[Any]:
        def going(now: Any, closed: Any) -> Any:
            return (now[0] < most) & now[1]

        def step(now: Any, closed: Any) -> list[Any]:
            index, _, *state = now
            more, *state = runners[0]([*state, index, *closed])
            return [index + 1, more.reshape(()), *state]

        begin = [jnp.zeros((), jnp.int64), jnp.ones((), bool), *arrays[:n]]
        return while_loop(going, step, begin, arrays[n:])[2:]

    return pure


def choose(ctx: Any, condition: Tensor, then_plan: Plan, else_plan: Plan) -> list[Tensor]:
    """`lax.cond` on a condition that is not known yet."""
    avals = _avals([condition])
    bodies = [
        traced_body(ctx, plan, [condition], avals, lambda _: [], 0)
        for plan in (then_plan, else_plan)
    ]
    yes, no = bodies
    if not all(_alike(a, b) for a, b in zip(yes.avals, no.avals, strict=True)):
        raise NeedsHost
    make = functools.partial(_chosen, 1 + len(yes.traced.closed_over))
    operands = [condition, *yes.traced.closed_over, *no.traced.closed_over]
    return record_nested("onnx_if", nested([yes.traced, no.traced], make), operands)


def _chosen(split_at: int, runners: list[Runner]) -> Runner:
    def pure(arrays: Sequence[Any]) -> list[Any]:
        return lax.cond(  # type: ignore[no-any-return]
            arrays[0].reshape(()),
            lambda: runners[0](arrays[:split_at]),
            lambda: runners[1]([arrays[0], *arrays[split_at:]]),
        )

    return pure
