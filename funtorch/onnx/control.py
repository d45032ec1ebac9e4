"""If, Loop and Scan: Python decides and repeats, so each path is recorded like any other ops.

Conditions and trip counts are read on the host; when they are constants or inputs that nothing has
computed, the whole still is one program.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.onnx.graph import Plan
from funtorch.onnx.rules import rule
from funtorch.ops._declare import TABLE


@rule("If", raw=True)
def if_(condition: Any, *, ctx: Any, then_branch: Plan, else_branch: Plan) -> Any:
    """The outputs of one of two graphs."""
    taken = bool(np.asarray(ctx.host(condition)).reshape(()))
    return tuple(ctx.subgraph(then_branch if taken else else_branch))


@rule("Loop", raw=True)
def loop(trips: Any = None, condition: Any = None, *state: Any, ctx: Any, body: Plan) -> Any:
    """Repeats a graph that carries values; what else it yields is stacked."""
    most = None if trips is None else int(np.asarray(ctx.host(trips)).reshape(()))
    on = True if condition is None else bool(np.asarray(ctx.host(condition)).reshape(()))
    carried = list(state) + [None] * (len(body.inputs) - 2 - len(state))
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
    over = [ctx.tensor(v) for v in values[states:]]
    yields = len(body.outputs) - states
    axes = scan_input_axes or (0,) * num_scan_inputs
    turned = scan_input_directions or (0,) * num_scan_inputs
    out_axes = scan_output_axes or (0,) * yields
    out_turned = scan_output_directions or (0,) * yields
    slices = [v.unbind(axis) for v, axis in zip(over, axes, strict=True)]
    slices = [s[::-1] if back else s for s, back in zip(slices, turned, strict=True)]
    collected: list[list[Any]] = [[] for _ in range(yields)]
    for parts in zip(*slices, strict=True):
        results = ctx.subgraph(body, [*carried, *parts])
        carried = results[:states]
        for found, value in zip(collected, results[states:], strict=True):
            found.append(value)
    ordered = [v[::-1] if back else v for v, back in zip(collected, out_turned, strict=True)]
    stacks = [_stacked(ctx, v, axis) for v, axis in zip(ordered, out_axes, strict=True)]
    return (*carried, *stacks)
