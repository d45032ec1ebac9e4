"""Stochastic gradient descent, with momentum (Sutskever et al., 2013)."""

from __future__ import annotations

from typing import Any

from funtorch.ops._declare import Array, Scalar
from funtorch.optim.optimizer import check_not_negative, check_tensor_lr
from funtorch.optim.per_parameter import PerParameter, decayed, moments, update_rule, varying
from funtorch.optim.sparse import add_sparse, apart, as_float
from funtorch.tensor import Tensor


@update_rule
def _sgd(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    momentum: Array | Scalar | None,
    dampening: float,
    weight_decay: Array | Scalar | None,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> list[Array]:
    """state: momentum buffer, if there is momentum; first: it holds nothing yet."""
    g = decayed(p, g, weight_decay, maximize)
    if momentum is None:
        return [p - lr * g]
    buffer = g if first else momentum * state[0] + (1 - dampening) * g
    move = g + momentum * buffer if nesterov else buffer
    return [p - lr * move, buffer]


class SGD(PerParameter):
    """p <- p - lr * (momentum-averaged) gradient."""

    rule = _sgd
    takes_sparse = True
    columns = ("momentum_buffer",)

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
        check_tensor_lr(lr)
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

    def prepare_state(self) -> None:
        """Nothing: the first momentum is the first gradient, not a step from zero."""

    def _sparse_step(self, param: Tensor, grad: Any, group: dict[str, Any]) -> None:
        """The same arithmetic on sparse tensors; the momentum is sparse too."""
        if group["weight_decay"]:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        grad = -grad if group["maximize"] else grad
        momentum = group["momentum"]
        if momentum:
            before = self.state[param].get("momentum_buffer")
            buffer = grad.clone()
            if before is not None:
                buffer = before * momentum + grad * (1 - group["dampening"])
            self.state[param]["momentum_buffer"] = buffer
            grad = grad + buffer * momentum if group["nesterov"] else buffer
        add_sparse(param, grad, -as_float(group["lr"]))

    def _update(self, group: dict[str, Any]) -> None:
        params, grads = apart(*self._with_gradients(group), self._sparse_step, group)
        if not params:
            return
        numbers = varying(group, "momentum", "weight_decay")
        numbers.update({k: group[k] for k in ("lr", "nesterov", "maximize")})
        numbers["dampening"] = float(group["dampening"])
        if numbers["momentum"] is None:
            self._apply(params, grads, (), {**numbers, "first": False})
            return
        new = [self.state[p].get("momentum_buffer") is None for p in params]
        for first in (True, False):
            some = [i for i, is_new in enumerate(new) if is_new == first]
            for i in some if first else ():
                self.state[params[i]].update(moments(params[i], "momentum_buffer"))
            if some:
                chosen = [params[i] for i in some], [grads[i] for i in some]
                self._apply(*chosen, self.columns, {**numbers, "first": first})
