"""If, Loop and Scan: within the program where shapes allow (`folding`), else in Python.

In Python, conditions and trip counts are read on the host and each step is recorded like any ops.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.onnx import folding
from funtorch.onnx.folding import NeedsHost
from funtorch.onnx.graph import Plan, inner_plans
from funtorch.onnx.rules import rule
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor

_PATIENCE = 10_000  # steps of a loop that are counted on the host before it runs


@rule("If", raw=True)
def if_(condition: Any, *, ctx: Any, then_branch: Plan, else_branch: Plan) -> Any:
    """The outputs of one of two graphs."""
    if isinstance(condition, Tensor) and not ctx.is_known(condition):
        try:
            return tuple(folding.choose(ctx, condition, then_branch, else_branch))
        except NeedsHost:
            pass
    taken = bool(np.asarray(ctx.host(condition)).reshape(()))
    return tuple(ctx.subgraph(then_branch if taken else else_branch))


@rule("Loop", raw=True)
def loop(trips: Any = None, condition: Any = None, *state: Any, ctx: Any, body: Plan) -> Any:
    """Repeats a graph that carries values; what else it yields is stacked."""
    most = None if trips is None else int(np.asarray(ctx.host(trips)).reshape(()))
    on = True if condition is None else bool(np.asarray(ctx.host(condition)).reshape(()))
    carried = list(state) + [None] * (len(body.inputs) - 2 - len(state))
    if any(isinstance(v, Tensor) for v in carried):
        try:
            limit = np.iinfo(np.int64).max if most is None else most
            steps = _length(ctx, body, int(limit), carried) if on else None
            if steps is not None:
                return tuple(folding.loop(ctx, body, steps, on, carried, True))
            return tuple(folding.loop(ctx, body, int(limit), on, carried))
        except NeedsHost:
            pass
    return _loop_in_python(ctx, body, most, on, carried)


def _length(ctx: Any, body: Plan, most: int, carried: list[Any]) -> int | None:
    """How many steps a loop takes, if that follows from what is known on the host."""
    part, kept = _condition_of(body)
    if not kept and not any(body.inputs[0] in step.inputs for step in part.steps):
        return None  # the condition never changes
    known = list(carried)
    env = {n: v for n, v in ctx.env.items() if isinstance(v, np.ndarray)}
    if not (part.free <= env.keys() and all(isinstance(known[i], np.ndarray) for i in kept)):
        return None
    for step in range(min(most, _PATIENCE)):
        more, *new = ctx.subgraph(part, [np.array(step, np.int64), np.array(True), *known])
        if not all(isinstance(v, np.ndarray) for v in (more, *new)):
            return None
        if not np.asarray(more).all():
            return step + 1
        for i, value in zip(kept, new, strict=True):
            known[i] = value
    return most if most <= _PATIENCE else None


def _condition_of(body: Plan) -> tuple[Plan, list[int]]:
    """The part of a loop's body that decides when it ends, and which carried values that needs."""
    wanted, kept = {body.outputs[0]}, set[int]()
    while True:
        needed, steps = set(wanted), []
        for step in reversed(body.steps):
            if needed & set(step.outputs):
                steps.append(step)
                needed |= set(step.inputs).union(*(p.free for p in inner_plans(step)))
        found = {i for i, name in enumerate(body.inputs[2:]) if name in needed}
        if found == kept:
            break
        kept = found
        wanted = {body.outputs[0], *(body.outputs[1 + i] for i in kept)}
    order = sorted(kept)
    part = Plan(body.inputs, [body.outputs[0], *(body.outputs[1 + i] for i in order)])
    part.steps, part.constants = steps[::-1], body.constants
    made = {*body.inputs, *body.constants, *(o for s in steps for o in s.outputs), ""}
    part.free = needed - made
    return part, order


def _loop_in_python(ctx: Any, body: Plan, most: int | None, on: bool, carried: list[Any]) -> Any:
    collected: list[list[Any]] = [[] for _ in body.outputs[1 + len(carried) :]]
    step = 0
    while on and (most is None or step < most):
        going = [np.array(step, np.int64), np.array(on), *carried]
        more, *results = ctx.subgraph(body, going)
        on = bool(np.asarray(ctx.host(more)).reshape(()))
        carried = results[: len(carried)]
        for values, value in zip(collected, results[len(carried) :], strict=True):
            values.append(value)
        step += 1
    return (*carried, *[_stacked(ctx, values, 0) for values in collected])


def _stacked(ctx: Any, values: list[Any], axis: int) -> Any:
    if not values:
        return np.zeros(0, np.float32)
    if all(isinstance(v, np.ndarray) for v in values):
        return np.stack(values, axis)
    return TABLE["stack"].facade([ctx.tensor(v) for v in values], axis)


@rule("Scan", until=8, raw=True)
def scan_batched(
    lengths: Any, *values: Any, ctx: Any, body: Plan, num_scan_inputs: int, directions: Any = None
) -> Any:
    """Scan of opset 8: one per sample of a batch."""
    del lengths  # the axis is scanned whole
    tensors = [ctx.tensor(v) for v in values]
    samples = [
        scan(
            *[t[i] for t in tensors],
            ctx=ctx,
            body=body,
            num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions,
        )
        for i in range(tensors[0].shape[0])
    ]
    return tuple(_stacked(ctx, list(parts), 0) for parts in zip(*samples, strict=True))


@rule("Scan", since=9, raw=True)
def scan(
    *values: Any,
    ctx: Any,
    body: Plan,
    num_scan_inputs: int,
    scan_input_axes: Any = None,
    scan_input_directions: Any = None,
    scan_output_axes: Any = None,
    scan_output_directions: Any = None,
) -> Any:
    """Runs a graph over slices of some inputs; it carries the others."""
    states = len(values) - num_scan_inputs
    carried = list(values[:states])
    yields = len(body.outputs) - states
    over = _aligned(
        [ctx.tensor(v) for v in values[states:]],
        scan_input_axes or (0,) * num_scan_inputs,
        scan_input_directions or (0,) * num_scan_inputs,
    )
    try:
        results: list[Any] = folding.scan(ctx, body, carried, over)
    except NeedsHost:
        results = _scan_in_python(ctx, body, carried, over, yields)
    axes = scan_output_axes or (0,) * yields
    turned = scan_output_directions or (0,) * yields
    stacks = [ctx.tensor(v) for v in results[states:]]
    stacks = [v.flip(0) if back else v for v, back in zip(stacks, turned, strict=True)]
    moved = [v.movedim(0, a) if a else v for v, a in zip(stacks, axes, strict=True)]
    return (*results[:states], *moved)


def _aligned(tensors: list[Tensor], axes: Any, turned: Any) -> list[Tensor]:
    """Tensors with the scanned axis first, in the order in which it is scanned."""
    moved = [v.movedim(a, 0) if a else v for v, a in zip(tensors, axes, strict=True)]
    return [v.flip(0) if back else v for v, back in zip(moved, turned, strict=True)]


def _scan_in_python(
    ctx: Any, body: Plan, carried: list[Any], over: list[Tensor], yields: int
) -> list[Any]:
    collected: list[list[Any]] = [[] for _ in range(yields)]
    for parts in zip(*[v.unbind(0) for v in over], strict=True):
        results = ctx.subgraph(body, [*carried, *parts])
        for found, value in zip(collected, results[len(carried) :], strict=True):
            found.append(value)
        carried = results[: len(carried)]
    return [*carried, *[_stacked(ctx, values, 0) for values in collected]]
