"""L-BFGS (Nocedal, 1980), with an optional strong-Wolfe line search (Nocedal and Wright, ch. 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from funtorch.grad_mode import enable_grad
from funtorch.ops._declare import Array, Scalar, op
from funtorch.ops.joining import cat
from funtorch.optim.optimizer import Optimizer, check_not_negative, check_tensor_lr
from funtorch.tensor import Tensor


class LBFGS(Optimizer):
    """A quasi-Newton method on all parameters as one vector; needs a closure."""

    def __init__(
        self,
        params: Any,
        lr: float = 1,
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
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
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

    # Vectors ------------------------------------------------------------------------------------

    def _gradient(self) -> Tensor:
        parts = [
            p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in self._params
        ]
        return cat(parts)

    def _move(self, step: float, direction: Tensor) -> None:
        at = 0
        for p in self._params:
            n = p.numel()
            p.add_(direction[at : at + n].view_as(p), alpha=step)
            at += n

    def _evaluate_at(
        self, closure: Callable[[], Any], start: list[Tensor], step: float, direction: Tensor
    ) -> tuple[float, Tensor]:
        self._move(step, direction)
        loss = float(closure())
        gradient = self._gradient()
        for p, before in zip(self._params, start, strict=True):
            p.copy_(before)
        return loss, gradient

    # The method ---------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Up to max_iter iterations; returns the loss at the beginning."""
        if len(self.param_groups) != 1:
            raise AssertionError(
                f"Expected exactly one param_group, but got {len(self.param_groups)}"
            )
        given = closure
        closure = enable_grad()(lambda: given())
        group = self.param_groups[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        loss = float(first_loss)
        evals = 1
        state["func_evals"] += 1
        gradient = self._gradient()
        if float(gradient.abs().max()) <= group["tolerance_grad"]:
            return first_loss
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(state, gradient, group["history_size"])
            previous, state["prev_flat_grad"] = loss, gradient.clone()
            state["prev_loss"] = loss
            lr = group["lr"]
            t = min(1.0, 1.0 / float(gradient.abs().sum())) * lr if state["n_iter"] == 1 else lr
            slope = float(gradient.dot(direction))
            if slope > -group["tolerance_change"]:
                state["d"], state["t"] = direction, t
                break
            loss, gradient, t, used = self._advance(
                closure, group, iteration, loss, gradient, t, direction, slope
            )
            state["d"], state["t"] = direction, t
            evals += used
            state["func_evals"] += used
            if self._finished(group, iteration, evals, gradient, direction, t, loss, previous):
                break
        return first_loss

    def _advance(
        self,
        closure: Any,
        group: Any,
        iteration: int,
        loss: float,
        gradient: Tensor,
        t: float,
        direction: Tensor,
        slope: float,
    ) -> tuple[float, Tensor, float, int]:
        if group["line_search_fn"] == "strong_wolfe":
            start = [p.clone() for p in self._params]
            loss, gradient, t, used = strong_wolfe(
                lambda step: self._evaluate_at(closure, start, step, direction),
                t,
                direction,
                loss,
                gradient,
                slope,
            )
            self._move(t, direction)
            return loss, gradient, t, used
        self._move(t, direction)
        if iteration == group["max_iter"]:
            return loss, gradient, t, 0
        loss = float(closure())
        return loss, self._gradient(), t, 1

    @staticmethod
    def _finished(
        group: Any,
        iteration: int,
        evals: int,
        gradient: Tensor,
        direction: Tensor,
        t: float,
        loss: float,
        previous: float,
    ) -> bool:
        return (
            iteration == group["max_iter"]
            or evals >= group["max_eval"]
            or float(gradient.abs().max()) <= group["tolerance_grad"]
            or float((direction * t).abs().max()) <= group["tolerance_change"]
            or abs(loss - previous) < group["tolerance_change"]
        )

    @staticmethod
    def _direction(state: dict[str, Any], gradient: Tensor, history: int) -> Tensor:
        """Minus the approximate inverse Hessian times the gradient (two-loop recursion)."""
        if state["n_iter"] == 1:
            state["old_dirs"], state["old_stps"], state["ro"] = [], [], []
            state["H_diag"] = 1
            return gradient.neg()
        y = gradient.sub(state["prev_flat_grad"])
        s = state["d"].mul(state["t"])
        ys = y.dot(s)
        if float(ys) > 1e-10:
            for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1.0 / ys)):
                state[name].append(value)
                if len(state[name]) > history:
                    state[name].pop(0)
            state["H_diag"] = ys / y.dot(y)
        memory = [state["old_dirs"], state["old_stps"], state["ro"]]
        direction, alphas = _two_loop(gradient, *_padded(memory, gradient), state["H_diag"])
        state.setdefault("al", [None] * history)[: len(state["ro"])] = alphas[: len(state["ro"])]
        return direction


@op(function=False, differentiable=False)
def _two_loop(
    self: Array,
    changes: list[Array],
    moves: list[Array],
    inverses: list[Array],
    scale: Array | Scalar,
) -> tuple[Array, Array]:
    """(direction, alphas) from a gradient [n] and k pairs of changes and moves [n]."""
    ys, ss, ros = jnp.stack(changes), jnp.stack(moves), jnp.stack(inverses)

    def backwards(q: Array, pair: Any) -> tuple[Array, Array]:
        y, s, ro = pair
        alpha = jnp.dot(s, q) * ro
        return q - alpha * y, alpha

    def forwards(r: Array, pair: Any) -> tuple[Array, None]:
        y, s, ro, alpha = pair
        return r + (alpha - jnp.dot(y, r) * ro) * s, None

    q, alphas = lax.scan(backwards, -self, (ys, ss, ros), reverse=True)
    start = (q * scale).astype(self.dtype)
    return lax.scan(forwards, start, (ys, ss, ros, alphas))[0], alphas


def _padded(memory: list[list[Tensor]], gradient: Tensor) -> list[list[Tensor]]:
    """Lists of a power of two in length: few lengths, so few programs. What is added counts zero."""
    count = len(memory[0])
    missing = max(1 << (count - 1).bit_length() if count else 1, 1) - count
    zeros, zero = gradient.new_zeros(gradient.numel()), gradient.new_zeros(())
    dirs, steps, inverses = memory
    return [dirs + [zeros] * missing, steps + [zeros] * missing, inverses + [zero] * missing]


def _cubic_minimum(
    x1: float,
    f1: float,
    g1: float,
    x2: float,
    f2: float,
    g2: float,
    bounds: tuple[float, float] | None = None,
) -> float:
    """Where the cubic through two points with slopes is smallest, kept within bounds."""
    low, high = bounds if bounds is not None else (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1 * d1 - g1 * g2
    if square < 0:
        return (low + high) / 2.0
    d2 = square**0.5
    if x1 <= x2:
        at = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        at = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(at, low), high)


def strong_wolfe(
    evaluate: Callable[[float], tuple[float, Tensor]],
    t: float,
    direction: Tensor,
    loss: float,
    gradient: Tensor,
    slope: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[float, Tensor, float, int]:
    """A step that fulfils the strong Wolfe conditions: (loss, gradient, step, evaluations)."""
    longest = float(direction.abs().max())
    new_loss, new_gradient = evaluate(t)
    evals, new_slope = 1, float(new_gradient.dot(direction))
    before = (0.0, loss, gradient, slope)
    bracket: list[Any] = []
    done, tries = False, 0
    while tries < max_ls:
        point = (t, new_loss, new_gradient, new_slope)
        if new_loss > loss + c1 * t * slope or (tries > 1 and new_loss >= before[1]):
            bracket = [before, point]
            break
        if abs(new_slope) <= -c2 * slope:
            bracket, done = [point], True
            break
        if new_slope >= 0:
            bracket = [before, point]
            break
        step = _cubic_minimum(
            before[0],
            before[1],
            before[3],
            t,
            new_loss,
            new_slope,
            (t + 0.01 * (t - before[0]), t * 10),
        )
        before, t = point, step
        new_loss, new_gradient = evaluate(t)
        evals, new_slope, tries = evals + 1, float(new_gradient.dot(direction)), tries + 1
    if tries == max_ls:
        bracket = [(0.0, loss, gradient, slope), (t, new_loss, new_gradient, new_slope)]
    stalled = False
    while not done and tries < max_ls:
        low, high = (0, 1) if bracket[0][1] <= bracket[-1][1] else (1, 0)
        a, b = bracket
        if abs(b[0] - a[0]) * longest < tolerance_change:
            break
        t = _cubic_minimum(a[0], a[1], a[3], b[0], b[1], b[3])
        left, right = min(a[0], b[0]), max(a[0], b[0])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:
            if stalled or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        new_loss, new_gradient = evaluate(t)
        evals, new_slope, tries = evals + 1, float(new_gradient.dot(direction)), tries + 1
        point = (t, new_loss, new_gradient, new_slope)
        if new_loss > loss + c1 * t * slope or new_loss >= bracket[low][1]:
            bracket[high] = point
        else:
            if abs(new_slope) <= -c2 * slope:
                done = True
            elif new_slope * (bracket[high][0] - bracket[low][0]) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = point
    best = min(bracket, key=lambda p: p[1])
    return best[1], best[2], best[0], evals
