"""Optimisers that scale each step by past gradients: Adagrad, Adadelta, RMSprop, Rprop, ASGD."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch.ops._declare import Array, Scalar
from funtorch.ops.creation import full_like
from funtorch.optim.optimizer import check_not_negative, check_tensor_lr
from funtorch.optim.per_parameter import (
    PerParameter,
    counter,
    decayed,
    moments,
    update_rule,
    varying,
)
from funtorch.optim.sparse import add_sparse
from funtorch.sparse.kernels import picked
from funtorch.tensor import Tensor

Group = dict[str, Any]


@update_rule
def _rmsprop(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    alpha: float,
    eps: float,
    weight_decay: Array | Scalar | None,
    momentum: Array | Scalar | None,
    centered: bool,
    maximize: bool,
) -> list[Array]:
    """state: step, mean square, (momentum buffer), (mean)."""
    step, square, *rest = state
    g = decayed(p, g, weight_decay, maximize)
    square = alpha * square + (1 - alpha) * g * g
    spread, new = square, []
    if centered:
        mean = rest[-1] + (g - rest[-1]) * (1 - alpha)
        spread = square - mean * mean
        new = [mean]
    move = g / (jnp.sqrt(spread) + eps)
    if momentum is not None:
        move = momentum * rest[0] + move
        new = [move, *new]
    return [p - lr * move, step + 1, square, *new]


class RMSprop(PerParameter):
    """Steps scaled by a running mean of squared gradients (Hinton's lecture; centred: Graves, 2013)."""

    rule = _rmsprop
    columns = ("step", "square_avg", "momentum_buffer", "grad_avg")

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
        check_tensor_lr(lr)
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

    def _initial(self, param: Tensor, group: Group) -> dict[str, Tensor]:
        names = ["square_avg"]
        names += ["momentum_buffer"] if group["momentum"] > 0 else []
        names += ["grad_avg"] if group["centered"] else []
        return {"step": counter(), **moments(param, *names)}

    def _numbers(self, group: Group) -> dict[str, Any]:
        floats = {k: float(group[k]) for k in ("alpha", "eps")}
        flags = {"centered": group["centered"], "maximize": group["maximize"]}
        return {"lr": group["lr"], **varying(group, "weight_decay", "momentum"), **floats, **flags}


@update_rule
def _adadelta(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    rho: float,
    eps: float,
    weight_decay: Array | Scalar | None,
    maximize: bool,
) -> list[Array]:
    """state: step, mean square of gradients, mean square of moves."""
    step, square, moved = state
    g = decayed(p, g, weight_decay, maximize)
    square = rho * square + (1 - rho) * g * g
    move = jnp.sqrt(moved + eps) / jnp.sqrt(square + eps) * g
    moved = rho * moved + (1 - rho) * move * move
    return [p - lr * move, step + 1, square, moved]


class Adadelta(PerParameter):
    """Steps in the units of the parameters themselves (Zeiler, 2012)."""

    rule = _adadelta
    columns = ("step", "square_avg", "acc_delta")

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
        check_tensor_lr(lr)
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

    def _initial(self, param: Tensor, group: Group) -> dict[str, Tensor]:
        return {"step": counter(), **moments(param, "square_avg", "acc_delta")}

    def _numbers(self, group: Group) -> dict[str, Any]:
        floats = {k: float(group[k]) for k in ("rho", "eps")}
        flags = {"maximize": group["maximize"]}
        return {"lr": group["lr"], **varying(group, "weight_decay"), **floats, **flags}


@update_rule
def _adagrad(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    lr_decay: float,
    eps: float,
    weight_decay: Array | Scalar | None,
    maximize: bool,
) -> list[Array]:
    """state: step, sum of squares."""
    step, total = state
    g = decayed(p, g, weight_decay, maximize)
    total = total + g * g
    size = (lr / (1 + step.astype(jnp.float64) * lr_decay)).astype(p.dtype)
    return [p - size * g / (jnp.sqrt(total) + eps), step + 1, total]


class Adagrad(PerParameter):
    """Steps scaled by the sum of all squared gradients (Duchi et al., 2011)."""

    rule = _adagrad
    takes_sparse = True
    columns = ("step", "sum")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_tensor_lr(lr)
        check_not_negative(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param] = self._initial(param, group)

    def _initial(self, param: Tensor, group: Group) -> dict[str, Tensor]:
        start = group["initial_accumulator_value"]
        value = complex(start, start) if param.is_complex() else start
        return {"step": counter(), "sum": full_like(param.detach(), value)}

    def _sparse_step(self, param: Tensor, grad: Any, group: Group) -> None:
        if group["weight_decay"]:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        state = self.state[param]
        rate = group["lr"] / (state["step"] * group["lr_decay"] + 1)
        state["step"]._replace(state["step"] + 1)
        grad = (-grad if group["maximize"] else grad).coalesce()
        add_sparse(state["sum"], grad._with(grad._inner**2), 1.0)
        spread = picked(state["sum"], grad._places).sqrt() + group["eps"]
        add_sparse(param, grad._with(grad._inner / spread), -rate)

    def share_memory(self) -> None:
        """Nothing to do: state is not shared between processes here."""

    def _numbers(self, group: Group) -> dict[str, Any]:
        floats = {k: float(group[k]) for k in ("lr_decay", "eps")}
        flags = {"maximize": group["maximize"]}
        return {"lr": group["lr"], **varying(group, "weight_decay"), **floats, **flags}


@update_rule
def _rprop(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    shrink: float,
    grow: float,
    least: float,
    most: float,
    maximize: bool,
) -> list[Array]:
    """state: step, last gradient, size of the next move."""
    step, before, size = state
    g = -g if maximize else g
    agree = g * before
    size = jnp.clip(size * jnp.where(agree > 0, grow, jnp.where(agree < 0, shrink, 1)), least, most)
    g = jnp.where(agree < 0, 0, g)
    return [p - jnp.sign(g) * size, step + 1, g, size]


class Rprop(PerParameter):
    """Moves whose size depends on the signs of gradients alone (Riedmiller and Braun, 1993)."""

    rule = _rprop
    columns = ("step", "prev", "step_size")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_tensor_lr(lr)
        check_not_negative(lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _initial(self, param: Tensor, group: Group) -> dict[str, Tensor]:
        lr = float(group["lr"])
        start = complex(lr, lr) if param.is_complex() else lr
        size = full_like(param.detach(), start)
        return {"step": counter(), **moments(param, "prev"), "step_size": size}

    def _numbers(self, group: Group) -> dict[str, Any]:
        (shrink, grow), (least, most) = group["etas"], group["step_sizes"]
        sizes = {"shrink": shrink, "grow": grow, "least": least, "most": most}
        return {**{k: float(v) for k, v in sizes.items()}, "maximize": group["maximize"]}


@update_rule
def _asgd(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    lambd: float,
    alpha: float,
    t0: float,
    weight_decay: Array | Scalar | None,
    maximize: bool,
) -> list[Array]:
    """state: step, rate, weight of the newest point in the average, average."""
    step, eta, mu, average = state
    step = step + 1
    g = decayed(p, g, weight_decay, maximize)
    rate = eta.astype(p.dtype)
    p = p * (1 - lambd * rate) - rate * g
    average = jnp.where(mu == 1, p, average + (p - average) * mu.astype(p.dtype))
    count = step.astype(jnp.float64)
    eta = lr / (1 + lambd * lr * count) ** alpha
    return [p, step, eta, 1 / jnp.maximum(1, count - t0), average]


class ASGD(PerParameter):
    """Gradient descent with averaged iterates (Polyak and Juditsky, 1992)."""

    rule = _asgd
    columns = ("step", "eta", "mu", "ax")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_tensor_lr(lr)
        check_not_negative(lr=lr, weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _initial(self, param: Tensor, group: Group) -> dict[str, Tensor]:
        scalars = {"step": counter(), "eta": counter(float(group["lr"])), "mu": counter(1.0)}
        return {**scalars, **moments(param, "ax")}

    def _numbers(self, group: Group) -> dict[str, Any]:
        floats = {k: float(group[k]) for k in ("lambd", "alpha", "t0")}
        flags = {"maximize": group["maximize"]}
        return {"lr": group["lr"], **varying(group, "weight_decay"), **floats, **flags}
