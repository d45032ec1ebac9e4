"""Optimisers and gradients as ops (ai.onnx.preview.training)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from funtorch.autograd import grad
from funtorch.grad_mode import enable_grad
from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor

DOMAIN = "ai.onnx.preview.training"


def _by_tensor(
    fn: Any, r: Tensor, t: Tensor, tensors: tuple[Tensor, ...], kinds: int, **a: Any
) -> Any:
    """Runs an update for each parameter: inputs are all X, then all G, then the states."""
    n = len(tensors) // kinds
    columns = [tensors[i * n : (i + 1) * n] for i in range(kinds)]
    made = [fn(r, t, *values, **a) for values in zip(*columns, strict=True)]
    return tuple(v for kind in zip(*made, strict=True) for v in kind)


@rule("Adagrad", domain=DOMAIN)
def adagrad(
    r: Tensor,
    t: Tensor,
    *tensors: Tensor,
    decay_factor: float = 0.0,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
) -> Any:
    """Steps divided by the root of the sum of squared gradients."""
    return _by_tensor(_adagrad_step, r, t, tensors, 3, decay=decay_factor, epsilon=epsilon,
                      norm=norm_coefficient)  # fmt: skip


@kernel
def _adagrad_step(
    r: Array, t: Array, x: Array, g: Array, h: Array, *, decay: float, epsilon: float, norm: float
) -> tuple[Array, Array]:
    rate = r / (1 + t * decay)
    g = g + norm * x
    h = h + g * g
    return (x - rate * g / (jnp.sqrt(h) + epsilon)).astype(x.dtype), h


@rule("Adam", domain=DOMAIN)
def adam(
    r: Tensor,
    t: Tensor,
    *tensors: Tensor,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> Any:
    """Adam with regularisation before and after."""
    return _by_tensor(_adam_step, r, t, tensors, 4, alpha=alpha, beta=beta, epsilon=epsilon,
                      norm=norm_coefficient, post=norm_coefficient_post)  # fmt: skip


@kernel
def _adam_step(
    r: Array,
    t: Array,
    x: Array,
    g: Array,
    v: Array,
    h: Array,
    *,
    alpha: float,
    beta: float,
    epsilon: float,
    norm: float,
    post: float,
) -> tuple[Array, Array, Array]:
    g = g + norm * x
    v = alpha * v + (1 - alpha) * g
    h = beta * h + (1 - beta) * g * g
    step = t.astype(x.dtype)
    corrected = r * jnp.sqrt(1 - beta**step) / (1 - alpha ** jnp.maximum(step, 1))
    rate = jnp.where(t > 0, corrected, r)
    x = (1 - post) * (x - rate * v / (jnp.sqrt(h) + epsilon))
    return tuple(a.astype(g.dtype) for a in (x, v, h))


@rule("Momentum", domain=DOMAIN)
def momentum(
    r: Tensor,
    t: Tensor,
    *tensors: Tensor,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> Any:
    """Gradient descent with momentum, standard or Nesterov's."""
    return _by_tensor(_momentum_step, r, t, tensors, 3, alpha=alpha, beta=beta,
                      nesterov=mode == "nesterov", norm=norm_coefficient)  # fmt: skip


@kernel
def _momentum_step(
    r: Array,
    t: Array,
    x: Array,
    g: Array,
    v: Array,
    *,
    alpha: float,
    beta: float,
    nesterov: bool,
    norm: float,
) -> tuple[Array, Array]:
    g = g + norm * x
    v = alpha * v + jnp.where(t > 0, beta, 1.0) * g
    step = g + alpha * v if nesterov else v
    return (x - r * step).astype(x.dtype), v.astype(g.dtype)


@rule("Gradient", domain=DOMAIN, raw=True)
def gradient(*values: Any, ctx: Any, xs: Any, y: str, zs: Any = ()) -> Any:
    """Derivatives of the graph's value y by its values xs, at the inputs of this node."""
    with enable_grad():
        at = [ctx.tensor(v).detach() for v in values]
        for x in at[: len(xs)]:
            x.requires_grad_(True)
        result = ctx.again(y, dict(zip((*xs, *zs), at, strict=True)))
        return tuple(grad(result.sum(), at[: len(xs)], allow_unused=True))
