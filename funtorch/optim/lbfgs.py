"""L-BFGS (Nocedal, 1980), with an optional strong-Wolfe line search (`line_search.py`).

An iteration is two programs: one gives the direction, one moves, evaluates the closure and measures.
Neither changes from iteration to iteration: steps and the number of remembered pairs are inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch import lowering
from funtorch.composed import Composed
from funtorch.grad_mode import enable_grad
from funtorch.ops._declare import Array, Scalar, op
from funtorch.ops.joining import cat, stack
from funtorch.ops.view_ops import view_as_real
from funtorch.optim.line_search import Point, strong_wolfe
from funtorch.optim.optimizer import Optimizer, check_not_negative, check_tensor_lr
from funtorch.tensor import Tensor, from_host

LASTING = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss")
"""What the state keeps from one step to the next, in PyTorch's order."""


class Memory(NamedTuple):
    """Pairs of changes and moves in a ring of `capacity` rows [capacity, n].

    inverses: 1 / (change . move), [capacity]; seen: how many pairs came, []; scale: the initial inverse
    Hessian's diagonal, []; alphas: the last recursion's coefficients, oldest pair first, [capacity].
    """

    changes: Tensor
    moves: Tensor
    inverses: Tensor
    alphas: Tensor
    seen: Tensor
    scale: Tensor


class LBFGS(Optimizer):
    """A quasi-Newton method on all parameters as one vector; needs a closure.

    Remembered pairs lie in one array each; `state` and `state_dict` hold PyTorch's lists.
    """

    _memory: Memory | None
    _listed = True  # does the state hold what the memory does?

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_tensor_lr(lr)
        check_not_negative(lr=lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    # Evaluating ---------------------------------------------------------------------------------

    def _gradient(self) -> Tensor:
        """All gradients as one vector [n]; a complex number counts as two."""
        parts = []
        for p in self._params:
            grad = p.new_zeros(p.shape) if p.grad is None else p.grad
            grad = grad.to_dense() if isinstance(grad, Composed) else grad
            parts.append((view_as_real(grad) if grad.is_complex() else grad).reshape(-1))
        return cat(parts)

    def _place(self, start: list[Tensor], step: float, direction: Tensor) -> None:
        """Parameters become start + step * direction."""
        self._write(self._params, _moved(start, direction, _number(step, direction)))

    def _look(self, closure: Callable[[], Any], step: float, direction: Tensor | None) -> Point:
        """Loss, gradient and what decides about going on: one program, one wait for the host."""
        loss = closure()
        if isinstance(loss, Tensor) and loss.numel() != 1:
            float(loss)  # raises, as in PyTorch
        gradient = self._gradient()
        along = gradient if direction is None else direction
        numbers = _measured(gradient, along, _number(step, along), loss)
        return Point(step, gradient, *numbers.tolist(), given=loss)

    # The method ---------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Up to max_iter iterations; returns the loss at the beginning."""
        if len(self.param_groups) != 1:
            raise AssertionError(
                f"Expected exactly one param_group, but got {len(self.param_groups)}"
            )
        given = closure
        closure = enable_grad()(lambda: given())
        group, state = self.param_groups[0], self._own[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = self._look(closure, 0.0, None)
        state["func_evals"] += 1
        if first.steepest > group["tolerance_grad"]:
            last = {name: state.get(name) for name in LASTING}
            self._iterate(closure, group, state, last, first)
            state.update(last)
            self._listed = False
        return first.given

    def _iterate(
        self,
        closure: Callable[[], Any],
        group: dict[str, Any],
        state: dict[str, Any],
        last: dict[str, Any],
        point: Point,
    ) -> None:
        evals = 1
        for left in reversed(range(group["max_iter"])):
            direction, slope, step, length = self._direction(state, group, last, point)
            last.update(d=direction, t=step, prev_flat_grad=point.gradient, prev_loss=point.loss)
            if slope > -group["tolerance_change"]:
                break
            most = group["max_eval"] - evals
            start = point._replace(step=step, slope=slope, longest=length)
            point, used = self._advance(closure, group, start, direction, left == 0, most)
            last["t"] = point.step
            evals += used
            state["func_evals"] += used
            if (
                evals >= group["max_eval"]
                or point.steepest <= group["tolerance_grad"]
                or point.longest <= group["tolerance_change"]
                or abs(point.loss - start.loss) < group["tolerance_change"]
            ):
                break

    def _advance(
        self,
        closure: Callable[[], Any],
        group: dict[str, Any],
        point: Point,
        direction: Tensor,
        final: bool,
        most: int,
    ) -> tuple[Point, int]:
        """(the next point, evaluations): by a fixed step, or one that a line search finds."""
        start = [p.clone() for p in self._params]

        def evaluate(step: float) -> Point:
            self._place(start, step, direction)
            return self._look(closure, step, direction)

        if group["line_search_fn"] is None:
            if not final:
                return evaluate(point.step), 1
            self._place(start, point.step, direction)  # its loss would serve nobody
            return point, 0
        if group["line_search_fn"] != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        found, used = strong_wolfe(evaluate, point, most)
        self._place(start, found.step, direction)
        return found, used

    def _direction(
        self, state: dict[str, Any], group: dict[str, Any], last: dict[str, Any], point: Point
    ) -> tuple[Tensor, float, float, float]:
        """(direction, slope along it, the step to try first, the longest move for a step of 1)."""
        state["n_iter"] += 1
        first, gradient = state["n_iter"] == 1, point.gradient
        if first or self._memory is None:
            self._memory = _memory_of({} if first else state, gradient)
        if not first:
            state.setdefault("al", [None] * group["history_size"])
        self._memory = _grown(self._memory, state["n_iter"], group["history_size"])
        lowering.flush()  # so that the direction's program does not depend on what was made here
        # In the first iteration the change is zero, so that nothing is remembered.
        before, moved = (gradient, gradient) if first else (last["prev_flat_grad"], last["d"])
        step = _number(0.0 if first else last["t"], gradient)
        direction, numbers, *memory = _two_loop(gradient, before, moved, step, *self._memory)
        self._memory = Memory(*memory)
        slope, shrink, length = numbers.tolist()
        lr = float(group["lr"])
        return direction, slope, shrink * lr if first else lr, length

    # State --------------------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        """PyTorch's: pairs in lists. They are made when asked for, which waits for their number."""
        if self._memory is not None and not self._listed:
            _listed(self._memory, self._own[self._params[0]], self.param_groups[0]["history_size"])
            self._listed = True
        return self._own

    @state.setter
    def state(self, value: Any) -> None:
        self._own, self._memory = value, None

    def __setstate__(self, state: dict[str, Any]) -> None:
        rest = dict(state)
        self.state = rest.pop("state")
        super().__setstate__(rest)
        self._params = self.param_groups[0]["params"]


def _number(value: float, like: Tensor) -> Tensor:
    """A number of `like`'s type as a tensor: it may change without another program."""
    return from_host(np.array(value, like.dtype.numpy), device=like.device)


def _memory_of(state: dict[str, Any], like: Tensor) -> Memory:
    """PyTorch's lists (none, at first) as arrays."""
    pairs = len(state.get("ro", ()))
    row, zero, scale = like.new_zeros(like.numel()), like.new_zeros(()), state.get("H_diag", 1)
    return Memory(
        stack(state["old_dirs"] if pairs else [row]),
        stack(state["old_stps"] if pairs else [row]),
        stack(state["ro"] if pairs else [zero]),
        like.new_zeros(max(pairs, 1)),
        from_host(np.array(pairs, np.int32), device=like.device),
        scale if isinstance(scale, Tensor) else like.new_full((), scale),
    )


def _grown(memory: Memory, wanted: int, most: int) -> Memory:
    """With rows for `wanted` pairs. Few sizes, so few programs: 8, 32, 128 ... but not above `most`."""
    capacity = memory.inverses.numel()
    if min(wanted, most) <= capacity:
        return memory
    rows = 8
    while rows < wanted:
        rows *= 4
    missing = min(rows, most) - capacity
    padded = [cat([x, x.new_zeros((missing, *x.shape[1:]))]) for x in memory[:4]]
    return Memory(*padded, *memory[4:])


def _listed(memory: Memory, state: dict[str, Any], history: int) -> None:
    """The arrays as PyTorch's lists, in its order."""
    seen, capacity = int(memory.seen), memory.inverses.numel()
    count = min(seen, capacity)
    rows = [(seen - count + i) % capacity for i in range(count)]
    for name, array in (
        ("old_dirs", memory.changes),
        ("old_stps", memory.moves),
        ("ro", memory.inverses),
    ):
        state[name] = [array[i].clone() for i in rows]
    state["H_diag"] = memory.scale.clone() if count else 1
    if "al" in state:
        state["al"] = [memory.alphas[i].clone() for i in range(count)] + [None] * (history - count)


@op(function=False, differentiable=False)
def _moved(start: list[Array], direction: Array, step: Array) -> tuple[Array, ...]:
    """Parameters [...] after a step along a direction [n]."""
    made, at = [], 0
    for p in start:
        size = p.size * (2 if jnp.iscomplexobj(p) else 1)
        part, at = direction[at : at + size] * step, at + size
        if jnp.iscomplexobj(p):
            part = lax.complex(part[0::2], part[1::2])
        made.append((p + part.reshape(p.shape)).astype(p.dtype))
    return tuple(made)


@op(function=False, differentiable=False)
def _measured(self: Array, direction: Array, step: Array, loss: Array | Scalar) -> Array:
    """[loss, slope, largest slope of a parameter, longest move of one] in float64."""
    moved = jnp.max(jnp.abs(direction * step))
    numbers = (loss, jnp.dot(self, direction), jnp.max(jnp.abs(self)), moved)
    return jnp.stack([jnp.reshape(x, ()).astype(jnp.float64) for x in numbers])


@op(function=False, differentiable=False)
def _two_loop(
    self: Array,
    previous: Array,
    moved: Array,
    step: Array,
    changes: Array,
    moves: Array,
    inverses: Array,
    alphas: Array,
    seen: Array,
    scale: Array,
) -> tuple[Array, ...]:
    """Remembers a pair if it is convex enough, then gives (direction [n], numbers [3], *memory).

    self: the gradient [n]; numbers: the slope along the direction, 1 / sum(abs(gradient)) (1 if that
    is less), and the direction's largest element. The rest is as in Memory.
    """
    y, s = self - previous, moved * step
    product = jnp.dot(y, s)
    taken = product > 1e-10
    capacity = inverses.shape[0]
    at = seen % capacity
    changes = changes.at[at].set(jnp.where(taken, y, changes[at]))
    moves = moves.at[at].set(jnp.where(taken, s, moves[at]))
    inverses = inverses.at[at].set(jnp.where(taken, 1 / product, inverses[at]))
    scale = jnp.where(taken, product / jnp.dot(y, y), scale).astype(scale.dtype)
    seen = seen + taken.astype(seen.dtype)
    count = jnp.minimum(seen, capacity)

    def row(i: Any) -> Any:
        return (seen - count + i) % capacity

    def backwards(k: Any, carry: Any) -> Any:
        q, alphas = carry
        i = count - 1 - k
        alpha = jnp.dot(moves[row(i)], q) * inverses[row(i)]
        return q - alpha * changes[row(i)], alphas.at[i].set(alpha)

    def forwards(i: Any, r: Array) -> Array:
        beta = jnp.dot(changes[row(i)], r) * inverses[row(i)]
        return r + (alphas[i] - beta) * moves[row(i)]

    q, alphas = lax.fori_loop(0, count, backwards, (-self, alphas))
    direction = lax.fori_loop(0, count, forwards, q * scale)
    shrink = jnp.minimum(1.0, 1.0 / jnp.sum(jnp.abs(self)))
    numbers = jnp.stack([jnp.dot(self, direction), shrink, jnp.max(jnp.abs(direction))])
    return direction, numbers.astype(jnp.float64), changes, moves, inverses, alphas, seen, scale
