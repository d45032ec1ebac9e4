"""RMSprop (Hinton's lecture), centred (Graves, 2013) and with momentum."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch import dtypes
from funtorch.ops._declare import Array, Scalar, op
from funtorch.ops.creation import tensor, zeros_like
from funtorch.optim.optimizer import Optimizer, check_not_negative


@op(function=False, differentiable=False)
def _rmsprop(
    params: list[Array],
    grads: list[Array],
    squares: list[Array],
    means: list[Array],
    buffers: list[Array],
    steps: list[Array],
    *,
    lr: Scalar,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    maximize: bool,
) -> tuple[Array, ...]:
    """New parameters, mean squares, (means,) (momentum buffers,) counters."""
    columns: list[list[Array]] = [[], [], [], [], []]
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        g = -g if maximize else g
        g = g + weight_decay * p if weight_decay else g
        square = alpha * squares[i] + (1 - alpha) * g * g
        spread = square
        if centered:
            mean = means[i] + (g - means[i]) * (1 - alpha)
            spread = square - mean * mean
            columns[2].append(mean.astype(p.dtype))
        move = g / (jnp.sqrt(spread) + eps)
        if momentum:
            move = momentum * buffers[i] + move
            columns[3].append(move.astype(p.dtype))
        columns[0].append((p - lr * move).astype(p.dtype))
        columns[1].append(square.astype(p.dtype))
        columns[4].append(steps[i] + 1)
    return tuple(v for column in columns for v in column)


class RMSprop(Optimizer):
    """Steps scaled by a running mean of squared gradients."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_not_negative(
            lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha
        )
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _update(self, group: dict[str, Any]) -> None:
        params, grads = self._with_gradients(group)
        if not params:
            return
        names = ["square_avg"]
        names += ["grad_avg"] if group["centered"] else []
        names += ["momentum_buffer"] if group["momentum"] else []
        for param in params:
            state = self.state[param]
            if not state:
                state["step"] = tensor(0.0, dtype=dtypes.float32)
                for name in names:
                    state[name] = zeros_like(param)
        columns = {name: [self.state[p][name] for p in params] for name in [*names, "step"]}
        outs = _rmsprop(
            params,
            grads,
            columns["square_avg"],
            columns.get("grad_avg", []),
            columns.get("momentum_buffer", []),
            columns["step"],
            lr=group["lr"],
            alpha=float(group["alpha"]),
            eps=float(group["eps"]),
            weight_decay=float(group["weight_decay"]),
            momentum=float(group["momentum"]),
            centered=group["centered"],
            maximize=group["maximize"],
        )
        self._write([*params, *(t for column in columns.values() for t in column)], outs)
