"""`lax.while_loop` with a gradient, in memory that does not grow with the number of steps.

The way back needs the state before each step, and how many there are is not known while compiling.
So a few states are kept, and the others computed again: from the latest one kept before the step that
is wanted, leaving a further one halfway as often as there is room (binary checkpointing: about
log2(steps) times the work of the loop). Griewank, Achieving logarithmic growth of temporal and spatial
complexity in reverse automatic differentiation, 1992.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Arrays = Sequence[Any]
SLOTS = 16  # states kept: enough for 2**16 steps before work grows faster


def while_loop(
    test: Callable[[Arrays, Arrays], Any],
    body: Callable[[Arrays, Arrays], Arrays],
    state: Arrays,
    consts: Arrays,
) -> list[Any]:
    """The state after the last step. test(state, consts) -> bool; body(state, consts) -> state."""
    return _loop(test, body, list(state), list(consts))  # type: ignore[no-any-return]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _loop(test: Any, body: Any, state: list[Any], consts: list[Any]) -> list[Any]:
    return lax.while_loop(lambda s: test(s, consts), lambda s: list(body(s, consts)), state)


def _forward(test: Any, body: Any, state: list[Any], consts: list[Any]) -> Any:
    def step(carry: Any) -> Any:
        count, now = carry
        return count + 1, list(body(now, consts))

    begin = (jnp.zeros((), jnp.int64), state)
    count, last = lax.while_loop(lambda c: test(c[1], consts), step, begin)
    return last, (state, consts, count)


def _floating(arrays: Arrays) -> list[int]:
    return [i for i, x in enumerate(arrays) if jnp.issubdtype(x.dtype, jnp.inexact)]


def _filled(arrays: Arrays, where: Sequence[int], given: Arrays) -> list[Any]:
    full = list(arrays)
    for i, x in zip(where, given, strict=True):
        full[i] = x
    return full


def _backward(test: Any, body: Any, kept: Any, cotangents: list[Any]) -> Any:
    state, consts, count = kept
    moving, fixed = _floating(state), _floating(consts)

    def back(before: list[Any], ct_state: list[Any]) -> Any:
        def step(own: Any, other: Any) -> Any:
            new = body(_filled(before, moving, own), _filled(consts, fixed, other))
            return [new[i] for i in moving]

        _, pull = jax.vjp(step, [before[i] for i in moving], [consts[i] for i in fixed])
        return pull(ct_state)

    def one(carry: Any) -> Any:
        left, saved, ct_state, ct_consts = carry
        before, saved = _state_at(left - 1, saved, lambda s: list(body(s, consts)))
        ct_state, more = back(before, ct_state)
        return left - 1, saved, ct_state, [a + b for a, b in zip(ct_consts, more, strict=True)]

    begin = (
        count,
        _slots(state),
        [cotangents[i] for i in moving],
        [jnp.zeros_like(consts[i]) for i in fixed],
    )
    _, _, ct_state, ct_consts = lax.while_loop(lambda c: c[0] > 0, one, begin)
    return _filled(_none(state), moving, ct_state), _filled(_none(consts), fixed, ct_consts)


def _none(arrays: Arrays) -> list[Any]:
    """What stands for the gradients of integers."""
    return [np.zeros(x.shape, jax.dtypes.float0) for x in arrays]


def _slots(state: Arrays) -> Any:
    """(index of the latest slot, steps before each, states) with the first state in slot 0."""
    steps = jnp.zeros((SLOTS,), jnp.int64)
    places = [jnp.zeros((SLOTS, *x.shape), x.dtype).at[0].set(x) for x in state]
    return jnp.zeros((), jnp.int64), steps, places


def _state_at(index: Any, saved: Any, step: Callable[[list[Any]], list[Any]]) -> Any:
    """(the state after `index` steps, slots with further states on the way there)."""
    top, steps, places = saved
    top = lax.while_loop(lambda t: steps[t] > index, lambda t: t - 1, top)

    def nearer(carry: Any) -> Any:
        top, steps, places = carry
        at = steps[top]
        full = top == SLOTS - 2  # the last slot holds the state itself
        to = jnp.where(full, index, at + (index - at + 1) // 2)
        now = lax.fori_loop(at, to, lambda _, s: step(s), [p[top] for p in places])
        kept = [p.at[top + 1].set(x) for p, x in zip(places, now, strict=True)]
        return top + 1, steps.at[top + 1].set(to), kept

    top, steps, places = lax.while_loop(lambda c: c[1][c[0]] < index, nearer, (top, steps, places))
    return [p[top] for p in places], (top, steps, places)


_loop.defvjp(_forward, _backward)
