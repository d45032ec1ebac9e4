"""Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch import dtypes
from funtorch.ops._declare import Array, Scalar, op
from funtorch.ops.creation import tensor, zeros_like
from funtorch.optim.optimizer import Optimizer, check_betas, check_not_negative


@op(function=False, differentiable=False)
def _adam(
    params: list[Array],
    grads: list[Array],
    exp_avgs: list[Array],
    exp_avg_sqs: list[Array],
    max_sqs: list[Array],
    steps: list[Array],
    *,
    lr: Scalar,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled: bool,
) -> tuple[Array, ...]:
    """New parameters, first moments, second moments, (largest second moments,) steps."""
    new: list[list[Array]] = [[], [], [], [], []]
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        g = -g if maximize else g
        step = steps[i] + 1
        if weight_decay:
            p, g = (p * (1 - lr * weight_decay), g) if decoupled else (p, g + weight_decay * p)
        first = exp_avgs[i] + (g - exp_avgs[i]) * (1 - beta1)
        second = beta2 * exp_avg_sqs[i] + (1 - beta2) * g * g
        # The powers in double: in float32 1 - 0.999 ** step loses three digits at the start.
        count = step.astype(jnp.float64)
        correction1 = (1 - beta1**count).astype(p.dtype)
        root2 = jnp.sqrt(1 - beta2**count).astype(p.dtype)
        ruling = jnp.maximum(max_sqs[i], second) if amsgrad else second
        updated = p - (lr / correction1) * first / (jnp.sqrt(ruling) / root2 + eps)
        for column, value in zip(new, (updated, first, second, ruling, step), strict=True):
            column.append(value)
    dtype = params[0].dtype
    kept = [[v.astype(dtype) for v in column] for column in new[:4]]
    if not amsgrad:
        kept[3] = []
    return (*kept[0], *kept[1], *kept[2], *kept[3], *new[4])


class Adam(Optimizer):
    """Steps scaled by running means of gradients and of their squares."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_not_negative(lr=lr, eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _prepare(self, param: Any, amsgrad: bool) -> None:
        state = self.state[param]
        if not state:
            state["step"] = tensor(0.0, dtype=dtypes.float32)
            state["exp_avg"] = zeros_like(param)
            state["exp_avg_sq"] = zeros_like(param)
            if amsgrad:
                state["max_exp_avg_sq"] = zeros_like(param)

    def _update(self, group: dict[str, Any]) -> None:
        params, grads = self._with_gradients(group)
        if not params:
            return
        for param in params:
            self._prepare(param, group["amsgrad"])
        names = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"]
        if not group["amsgrad"]:
            names.remove("max_exp_avg_sq")
        columns = {name: [self.state[p][name] for p in params] for name in names}
        beta1, beta2 = group["betas"]
        outs = _adam(
            params,
            grads,
            columns["exp_avg"],
            columns["exp_avg_sq"],
            columns.get("max_exp_avg_sq", []),
            columns["step"],
            lr=group["lr"],
            beta1=float(beta1),
            beta2=float(beta2),
            eps=float(group["eps"]),
            weight_decay=float(group["weight_decay"]),
            amsgrad=group["amsgrad"],
            maximize=group["maximize"],
            decoupled=group["decoupled_weight_decay"],
        )
        targets = [*params, *(t for name in names for t in columns[name])]
        self._write(targets, outs)


class AdamW(Adam):
    """Adam whose weight decay does not go through the moments."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
