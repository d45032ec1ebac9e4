"""Optimisers that treat parameters as matrices: Adafactor, Muon."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from funtorch.ops._declare import Array, Scalar
from funtorch.optim.optimizer import check_tensor_lr
from funtorch.optim.per_parameter import PerParameter, counter, moments, update_rule, varying
from funtorch.tensor import Tensor

Group = dict[str, Any]


def _rms(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(x))) / math.sqrt(max(x.size, 1))


@update_rule
def _adafactor(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    beta2_decay: float,
    eps1: float | None,
    eps2: float,
    d: float,
    weight_decay: Array | Scalar | None,
    maximize: bool,
) -> list[Array]:
    """state: step, and the mean squares: of rows and of columns, or of elements for vectors."""
    step, *squares = state
    g = -g if maximize else g
    eps1 = float(jnp.finfo(p.dtype).eps) if eps1 is None else eps1
    step = step + 1
    count = step.astype(jnp.float64)
    fresh = (count**beta2_decay).astype(p.dtype)
    size = jnp.minimum(jnp.asarray(lr, jnp.float64), 1 / jnp.sqrt(count)).astype(p.dtype)
    size = jnp.maximum(eps2, _rms(p)) * size
    if weight_decay is not None:
        p = p * (1 - lr * weight_decay)
    if len(squares) == 2:
        row = squares[0] + (jnp.square(g).mean(-1, keepdims=True) - squares[0]) * fresh
        column = squares[1] + (jnp.square(g).mean(-2, keepdims=True) - squares[1]) * fresh
        estimate = row @ column / jnp.maximum(row.mean(-2, keepdims=True), eps1)
        squares = [row, column]
    else:
        estimate = squares[0] + (jnp.square(g) - squares[0]) * fresh
        squares = [estimate]
    move = g / jnp.sqrt(jnp.maximum(estimate, eps1 * eps1))
    move = move * (size / jnp.maximum(1, _rms(move) / d))
    return [p - move, step, *squares]


class Adafactor(PerParameter):
    """Adam's scaling from row and column sums of squares alone (Shazeer and Stern, 2018)."""

    rule = _adafactor
    columns = ("step", "row_var", "col_var", "variance")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_tensor_lr(lr)
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def _initial(self, param: Tensor, group: Group) -> dict[str, Tensor]:
        if param.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        if param.ndim < 2:
            return {"step": counter(), **moments(param, "variance")}
        rows = param.new_zeros((*param.shape[:-1], 1))
        columns = param.new_zeros((*param.shape[:-2], 1, param.shape[-1]))
        return {"step": counter(), "row_var": rows, "col_var": columns}

    def _numbers(self, group: Group) -> dict[str, Any]:
        eps1, eps2 = group["eps"]
        return {
            "lr": group["lr"],
            "beta2_decay": float(group["beta2_decay"]),
            "eps1": eps1,
            "eps2": float(eps2),
            "d": float(group["d"]),
            **varying(group, "weight_decay"),
            "maximize": group["maximize"],
        }


def _orthogonalised(x: Array, coefficients: Any, steps: int, eps: float) -> Array:
    """The nearest orthogonal matrix, about, by a Newton-Schulz iteration of fifth order in bfloat16."""
    a, b, c = coefficients
    wide = x.shape[0] <= x.shape[1]
    m = _rounded((x if wide else x.T).astype(jnp.float32))
    m = _rounded(m / jnp.maximum(_rounded(jnp.linalg.norm(m)), eps))
    for _ in range(steps):
        # Each sum of products is rounded to bfloat16 once, at its end.
        gram = _rounded(m @ m.T)
        change = _rounded(b * gram + c * (gram @ gram))
        m = _rounded(a * m + change @ m)
    return m if wide else m.T


def _rounded(x: Array) -> Array:
    """Rounded to bfloat16, in float32: XLA drops the rounding of casts there and back."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


@update_rule
def _muon(
    p: Array,
    g: Array,
    state: list[Array],
    *,
    lr: Array | Scalar,
    weight_decay: Array | Scalar,
    momentum: Array | Scalar,
    nesterov: bool,
    coefficients: Any,
    eps: float,
    steps: int,
    adjust: str | None,
) -> list[Array]:
    """state: momentum buffer."""
    buffer = state[0] + (g - state[0]) * (1 - momentum)
    move = g + (buffer - g) * momentum if nesterov else buffer
    move = _orthogonalised(move, coefficients, steps, eps).astype(p.dtype)
    rows, columns = p.shape
    if adjust == "match_rms_adamw":
        ratio = 0.2 * math.sqrt(max(rows, columns))
    else:
        ratio = math.sqrt(max(1, rows / columns))
    return [p * (1 - lr * weight_decay) - lr * ratio * move, buffer]


class Muon(PerParameter):
    """Momentum whose steps are orthogonalised (Jordan et al., 2024); for matrices only."""

    rule = _muon
    columns = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_tensor_lr(lr)
        words = {"lr": "Learning rate", "momentum": "momentum", "weight_decay": "weight decay"}
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not value >= 0.0:
                raise ValueError(f"{words[name]} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        if ns_steps >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(ns_coefficients) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for param in group["params"]:
                if param.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size: "
                        f"{param.size()}"
                    )

    def _initial(self, param: Tensor, group: Group) -> dict[str, Tensor]:
        if param.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        return moments(param, "momentum_buffer")

    def _numbers(self, group: Group) -> dict[str, Any]:
        return {
            "lr": group["lr"],
            "weight_decay": float(group["weight_decay"]),
            "momentum": float(group["momentum"]),
            "nesterov": group["nesterov"],
            "coefficients": tuple(group["ns_coefficients"]),
            "eps": float(group["eps"]),
            "steps": group["ns_steps"],
            "adjust": group["adjust_lr_fn"],
        }
