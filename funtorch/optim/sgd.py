"""Stochastic gradient descent, with momentum (Sutskever et al., 2013)."""

from __future__ import annotations

from typing import Any

from funtorch.ops._declare import Array, Scalar, op
from funtorch.optim.optimizer import Optimizer, check_not_negative


@op(function=False, differentiable=False)
def _sgd(
    params: list[Array],
    grads: list[Array],
    buffers: list[Array],
    *,
    lr: Scalar,
    momentum: float,
    dampening: Scalar,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> tuple[Array, ...]:
    """New parameters, then new momentum buffers (if there is momentum)."""
    new, moved = [], []
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        g = -g if maximize else g
        g = g + weight_decay * p if weight_decay else g
        if momentum:
            buffer = g if first else momentum * buffers[i] + (1 - dampening) * g
            moved.append(buffer.astype(p.dtype))
            g = g + momentum * buffer if nesterov else buffer
        new.append((p - lr * g).astype(p.dtype))
    return (*new, *moved)


class SGD(Optimizer):
    """p <- p - lr * (momentum-averaged) gradient."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_not_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _update(self, group: dict[str, Any]) -> None:
        params, grads = self._with_gradients(group)
        momentum = float(group["momentum"])
        buffers = [self.state[p].get("momentum_buffer") if momentum else None for p in params]
        for first in (True, False):
            chosen = [i for i, b in enumerate(buffers) if (b is None) == first]
            if chosen:
                self._step_some(
                    group,
                    [params[i] for i in chosen],
                    [grads[i] for i in chosen],
                    [buffers[i] for i in chosen if not first],
                    momentum,
                    first,
                )

    def _step_some(
        self,
        group: dict[str, Any],
        params: Any,
        grads: Any,
        buffers: Any,
        momentum: float,
        first: bool,
    ) -> None:
        outs = _sgd(
            params,
            grads,
            buffers,
            lr=group["lr"],
            momentum=momentum,
            dampening=float(group["dampening"]),
            weight_decay=float(group["weight_decay"]),
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            first=first,
        )
        count = len(params)
        self._write(params, outs[:count])
        if not momentum:
            return
        if first:
            for param, buffer in zip(params, outs[count:], strict=True):
                self.state[param]["momentum_buffer"] = buffer
        else:
            self._write(buffers, outs[count:])
