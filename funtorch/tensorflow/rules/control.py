"""If, Loop and Scan as TensorFlow's own control flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.onnx.graph import Plan
from funtorch.tensorflow.emission import extents, rule


@rule("If", raw=True)
def if_(condition: Any, *, ctx: Any, then_branch: Plan, else_branch: Plan) -> Any:
    """The outputs of one of two graphs."""
    if isinstance(condition, np.ndarray):
        taken = then_branch if bool(condition.reshape(())) else else_branch
        return tuple(ctx.subgraph(taken))

    def branch(plan: Plan) -> Any:
        return lambda: [ctx.tensor(v) for v in ctx.subgraph(plan)]

    return tuple(tf.cond(tf.reshape(condition, ()), branch(then_branch), branch(else_branch)))


def _repeated(ctx: Any, going_on: Any, body: Any, first: list[Any], most: Any) -> list[Any]:
    """tf.while_loop; values whose shapes change from step to step lose what is known of them."""
    step, label = ctx.step, ctx.where()
    for loosened in (lambda v: v.shape, lambda v: tf.TensorShape([None] * v.shape.rank),
                     lambda v: tf.TensorShape(None)):  # fmt: skip
        shapes = [loosened(v) if tf.is_tensor(v) else None for v in first]
        try:
            return list(
                tf.while_loop(going_on, body, first, shapes, maximum_iterations=most)
            )
        except ValueError as error:
            ctx.step, problem = step, error
    raise NotImplementedError(f"{label}: {problem}")


@rule("Loop", raw=True)
def loop(trips: Any = None, condition: Any = None, *state: Any, ctx: Any, body: Plan) -> Any:
    """Repeats a graph that carries values; what else it yields is stacked."""
    if any(isinstance(v, list) for v in state):
        return _unrolled(ctx, body, trips, condition, list(state))
    carried = [ctx.tensor(v) for v in state]
    n = len(carried)
    limit = tf.cast(tf.reshape(ctx.tensor(trips), ()), tf.int64) if trips is not None else None
    on = tf.constant(True) if condition is None else tf.reshape(ctx.tensor(condition), ())
    kinds = _yields(ctx, body, carried)
    stacks = [tf.TensorArray(t, 0, dynamic_size=True, clear_after_read=False,
                             element_shape=s) for t, s in kinds]  # fmt: skip

    def going_on(t: Any, on: Any, *_: Any) -> Any:
        return on if limit is None else on & (t < limit)

    def step(t: Any, on: Any, *values: Any) -> Any:
        more, *made = [ctx.tensor(v) for v in ctx.subgraph(body, [t, on, *values[:n]])]
        pairs = zip(values[n:], made[n:], strict=True)
        written = [a.write(tf.cast(t, tf.int32), v) for a, v in pairs]
        return [t + 1, tf.reshape(more, ()), *made[:n], *written]

    first = [tf.constant(0, tf.int64), on, *carried, *stacks]
    _, _, *last = _repeated(ctx, going_on, step, first, None)
    return (*last[:n], *[a.stack() for a in last[n:]])


def _unrolled(ctx: Any, body: Plan, trips: Any, condition: Any, carried: list[Any]) -> Any:
    """A Loop that carries sequences: as many copies of its body as it has steps, all known by now."""
    limit = np.inf if trips is None else int(ctx.host(trips))
    on = condition is None or bool(ctx.host(condition))
    n, stacks = len(carried), [[] for _ in body.outputs[len(carried) + 1 :]]
    step = 0
    while on and step < limit:
        more, *made = ctx.subgraph(body, [np.array(step, np.int64), np.array(on), *carried])
        on, carried, step = bool(ctx.host(more)), made[:n], step + 1
        for stack, value in zip(stacks, made[n:], strict=True):
            stack.append(ctx.tensor(value))
    return (*carried, *[tf.stack(stack) for stack in stacks])


def _yields(ctx: Any, body: Plan, carried: list[Any]) -> list[tuple[Any, Any]]:
    """Types and shapes of what one step yields besides the state, from a trial in a graph apart."""
    n = len(carried)
    if len(body.outputs) == n + 1:
        return []

    def trial(t: Any, on: Any, *values: Any) -> Any:
        return [ctx.tensor(v) for v in ctx.subgraph(body, [t, on, *values])[n + 1 :]]

    step = ctx.step
    specs = [tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.bool)]
    specs += [tf.TensorSpec(v.shape, v.dtype) for v in carried]
    made = tf.function(trial, autograph=False).get_concrete_function(*specs).outputs
    ctx.step = step
    return [(v.dtype, v.shape) for v in made]


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
    yields = len(body.outputs) - states
    carried = [ctx.tensor(v) for v in values[:states]]
    axes = scan_input_axes or (0,) * num_scan_inputs
    turned = scan_input_directions or (0,) * num_scan_inputs
    over = [_moved(ctx.tensor(v), a, 0) for v, a in zip(values[states:], axes, strict=True)]
    over = [tf.reverse(v, [0]) if back else v for v, back in zip(over, turned, strict=True)]
    count = tf.cast(extents(over[0])[0], tf.int32)
    steps = [tf.TensorArray(v.dtype, count, element_shape=v.shape[1:]).unstack(v) for v in over]

    def one(t: Any, carried: Any) -> list[Any]:
        slices = [s.read(t) for s in steps]
        return [ctx.tensor(v) for v in ctx.subgraph(body, [*carried, *slices])]

    stacks = [tf.TensorArray(k, count, element_shape=s) for k, s in _kinds(ctx, body, carried, over)]

    def step(t: Any, *going: Any) -> Any:
        made = one(t, going[:states])
        pairs = zip(going[states:], made[states:], strict=True)
        return [t + 1, *made[:states], *[a.write(t, v) for a, v in pairs]]

    first = [tf.constant(0), *carried, *stacks]
    _, *last = _repeated(ctx, lambda t, *_: t < count, step, first, count)
    made = [a.stack() for a in last[states:]]
    back = scan_output_directions or (0,) * yields
    made = [tf.reverse(v, [0]) if b else v for v, b in zip(made, back, strict=True)]
    where = scan_output_axes or (0,) * yields
    return (*last[:states], *[_moved(v, 0, a) for v, a in zip(made, where, strict=True)])


def _kinds(ctx: Any, body: Plan, carried: list[Any], over: list[Any]) -> list[tuple[Any, Any]]:
    """Types and shapes of what one step of a Scan yields besides the state."""

    def trial(*values: Any) -> Any:
        return [ctx.tensor(v) for v in ctx.subgraph(body, values)[len(carried) :]]

    step = ctx.step
    specs = [tf.TensorSpec(v.shape, v.dtype) for v in carried]
    specs += [tf.TensorSpec(v.shape[1:], v.dtype) for v in over]
    made = tf.function(trial, autograph=False).get_concrete_function(*specs).outputs
    ctx.step = step
    return [(v.dtype, v.shape) for v in made]


def _moved(x: Any, source: int, target: int) -> Any:
    rank = x.shape.rank
    source, target = source % rank, target % rank
    if source == target:
        return x
    order = [i for i in range(rank) if i != source]
    order.insert(target, source)
    return tf.transpose(x, order)
