"""Adadelta (Zeiler, 2012)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch import dtypes
from funtorch.ops._declare import Array, Scalar, op
from funtorch.ops.creation import tensor, zeros_like
from funtorch.optim.optimizer import Optimizer, check_not_negative


@op(function=False, differentiable=False)
def _adadelta(
    params: list[Array],
    grads: list[Array],
    squares: list[Array],
    deltas: list[Array],
    steps: list[Array],
    *,
    lr: Scalar,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> tuple[Array, ...]:
    """New parameters, mean squares of gradients, mean squares of steps, counters."""
    columns: list[list[Array]] = [[], [], [], []]
    for p, g, square, delta, step in zip(params, grads, squares, deltas, steps, strict=True):
        g = -g if maximize else g
        g = g + weight_decay * p if weight_decay else g
        square = rho * square + (1 - rho) * g * g
        move = jnp.sqrt(delta + eps) / jnp.sqrt(square + eps) * g
        delta = rho * delta + (1 - rho) * move * move
        for column, value in zip(columns, (p - lr * move, square, delta, step + 1), strict=True):
            column.append(value.astype(step.dtype if column is columns[3] else p.dtype))
    return tuple(v for column in columns for v in column)


class Adadelta(Optimizer):
    """Steps scaled by running means of past steps over those of gradients."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_not_negative(lr=lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative(eps=eps, weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _update(self, group: dict[str, Any]) -> None:
        params, grads = self._with_gradients(group)
        if not params:
            return
        for param in params:
            state = self.state[param]
            if not state:
                state["step"] = tensor(0.0, dtype=dtypes.float32)
                state["square_avg"] = zeros_like(param)
                state["acc_delta"] = zeros_like(param)
        names = ("square_avg", "acc_delta", "step")
        columns = [[self.state[p][name] for p in params] for name in names]
        outs = _adadelta(
            params,
            grads,
            *columns,
            lr=group["lr"],
            rho=float(group["rho"]),
            eps=float(group["eps"]),
            weight_decay=float(group["weight_decay"]),
            maximize=group["maximize"],
        )
        self._write([*params, *(t for column in columns for t in column)], outs)
