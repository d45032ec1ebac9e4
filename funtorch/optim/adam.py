"""Adam (Kingma and Ba, 2015), AdamW (Loshchilov and Hutter, 2019) and their relatives."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch.ops._declare import Array, Scalar
from funtorch.optim.optimizer import check_betas, check_not_negative, check_tensor_lr
from funtorch.optim.per_parameter import (
    PerParameter,
    counter,
    decayed,
    moments,
    update_rule,
    varying,
)
from funtorch.tensor import Tensor


def bias_correction(beta: Array | Scalar, step: Array, dtype: Any) -> Array:
    """1 - beta ** step, in double: in single precision the first steps lose three digits."""
    return (1 - beta ** step.astype(jnp.float64)).astype(dtype)


def running_means(
    g: Array, first: Array, second: Array, beta1: Array | Scalar, beta2: Array | Scalar
) -> tuple[Array, Array]:
    """The two moments of Adam, moved towards a gradient."""
    return first + (g - first) * (1 - beta1), beta2 * second + (1 - beta2) * g * g


@update_rule
def _adam(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    beta1: Array | Scalar,
    beta2: Array | Scalar,
    eps: float,
    weight_decay: Array | Scalar | None,
    maximize: bool,
    decoupled: bool,
) -> list[Array]:
    """state: step, first and second moments, (largest second moments)."""
    step, first, second, *largest = state
    step = step + 1
    if weight_decay is not None and decoupled:
        p = p * (1 - lr * weight_decay)
    g = decayed(p, g, None if decoupled else weight_decay, maximize)
    first, second = running_means(g, first, second, beta1, beta2)
    ruling = jnp.maximum(largest[0], second) if largest else second
    root = jnp.sqrt(bias_correction(beta2, step, p.dtype))
    size = lr / bias_correction(beta1, step, p.dtype)
    new = p - size * first / (jnp.sqrt(ruling) / root + eps)
    return [new, step, first, second, *([ruling] if largest else [])]


class Adam(PerParameter):
    """Steps scaled by running means of gradients and of their squares."""

    rule = _adam
    columns = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
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
        check_tensor_lr(lr, foreach and not capturable)
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor) and foreach and not capturable:
                raise ValueError(
                    f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True"
                )
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

    def _initial(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        return {"step": counter(), **moments(param, *names)}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {**_common(group), "decoupled": group.get("decoupled_weight_decay", False)}


class AdamW(Adam):
    """Adam whose weight decay does not go through the moments."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
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


# Relatives --------------------------------------------------------------------------------------


@update_rule
def _adamax(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    beta1: Array | Scalar,
    beta2: Array | Scalar,
    eps: float,
    weight_decay: Array | Scalar | None,
    maximize: bool,
) -> list[Array]:
    """state: step, first moment, largest size of recent gradients."""
    step, first, largest = state
    step = step + 1
    g = decayed(p, g, weight_decay, maximize)
    first = first + (g - first) * (1 - beta1)
    largest = jnp.maximum(beta2 * largest, jnp.abs(g) + eps)
    size = lr / bias_correction(beta1, step, p.dtype)
    return [p - size * first / largest, step, first, largest]


class Adamax(PerParameter):
    """Adam with the infinity norm (Kingma and Ba, 2015, section 7)."""

    rule = _adamax
    columns = ("step", "exp_avg", "exp_inf")

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_tensor_lr(lr)
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
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _initial(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"step": counter(), **moments(param, "exp_avg", "exp_inf")}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return _common(group)


def _common(group: dict[str, Any]) -> dict[str, Any]:
    beta1, beta2 = group["betas"]
    return {
        "lr": group["lr"],
        "beta1": beta1,
        "beta2": beta2,
        "eps": float(group["eps"]),
        **varying(group, "weight_decay"),
        "maximize": group["maximize"],
    }


@update_rule
def _nadam(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    beta1: Array | Scalar,
    beta2: Array | Scalar,
    eps: float,
    weight_decay: Array | Scalar | None,
    maximize: bool,
    momentum_decay: float,
    decoupled: bool,
) -> list[Array]:
    """state: step, product of the momenta so far, two moments."""
    step, product, first, second = state
    step = step + 1
    if weight_decay is not None and decoupled:
        p = p * (1 - lr * weight_decay)
    g = decayed(p, g, None if decoupled else weight_decay, maximize)
    count = step.astype(jnp.float64)
    momentum = beta1 * (1 - 0.5 * 0.96 ** (count * momentum_decay))
    following = beta1 * (1 - 0.5 * 0.96 ** ((count + 1) * momentum_decay))
    product = product.astype(jnp.float64) * momentum
    first, second = running_means(g, first, second, beta1, beta2)
    spread = jnp.sqrt(second / bias_correction(beta2, step, p.dtype)) + eps
    by_gradient = (lr * (1 - momentum) / (1 - product)).astype(p.dtype)
    by_moment = (lr * following / (1 - product * following)).astype(p.dtype)
    p = p - by_gradient * (g / spread)
    return [p - by_moment * (first / spread), step, product, first, second]


class NAdam(PerParameter):
    """Adam with Nesterov's momentum (Dozat, 2016)."""

    rule = _nadam
    columns = ("step", "mu_product", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_tensor_lr(lr)
        check_not_negative(lr=lr, eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _initial(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        scalars = {"step": counter(), "mu_product": counter(1.0)}
        return {**scalars, **moments(param, "exp_avg", "exp_avg_sq")}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            **_common(group),
            "momentum_decay": float(group["momentum_decay"]),
            "decoupled": group["decoupled_weight_decay"],
        }


@update_rule
def _radam(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    beta1: Array | Scalar,
    beta2: Array | Scalar,
    eps: float,
    weight_decay: Array | Scalar | None,
    maximize: bool,
    decoupled: bool,
) -> list[Array]:
    """state: step, two moments."""
    step, first, second = state
    step = step + 1
    if weight_decay is not None and decoupled:
        p = p * (1 - lr * weight_decay)
    g = decayed(p, g, None if decoupled else weight_decay, maximize)
    first, second = running_means(g, first, second, beta1, beta2)
    count = step.astype(jnp.float64)
    correction = 1 - beta2**count
    most = 2 / (1 - beta2) - 1
    length = most - 2 * count * beta2**count / correction
    safe = jnp.where(length > 5, length, 6)
    ratio = (safe - 4) * (safe - 2) * most / ((most - 4) * (most - 2) * safe)
    rectified = (jnp.sqrt(ratio) * jnp.sqrt(correction)).astype(p.dtype)
    scaled = jnp.where(length > 5, rectified / (jnp.sqrt(second) + eps), 1)
    size = lr / bias_correction(beta1, step, p.dtype)
    return [p - size * first * scaled, step, first, second]


class RAdam(PerParameter):
    """Adam with a rectified variance (Liu et al., 2020)."""

    rule = _radam
    columns = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_tensor_lr(lr)
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
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _initial(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"step": counter(), **moments(param, "exp_avg", "exp_avg_sq")}

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        return {**_common(group), "decoupled": group["decoupled_weight_decay"]}
