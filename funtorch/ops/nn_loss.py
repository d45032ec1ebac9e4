"""Losses."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops._linalg import readable
from funtorch.tensor import Tensor, dtype_of, size_of

REDUCTIONS = ("none", "mean", "sum")


def _reduced(loss: Array, reduction: str) -> Array:
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that the old arguments size_average and reduce mean."""
    if size_average is None and reduce is None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"{reduction} is not a valid value for reduction")
        return reduction
    warnings.warn(
        "size_average and reduce args will be deprecated, please use reduction instead.",
        UserWarning,
        stacklevel=4,
    )
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _warn_shapes(name: str, input: Tensor, target: Tensor) -> None:
    if size_of(input) != size_of(target):
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            UserWarning,
            stacklevel=4,
        )


def _elementwise(name: str, body: Any, meaning: str, grad_name: str | None = None) -> Any:
    """A loss per element of input and target, with every form of reduction."""
    body.__name__ = f"_{name}"
    inner = op(function=False, promote="arith", grad_name=grad_name, layout="pointwise")(body)

    def loss(
        input: Tensor,
        target: Tensor,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
    ) -> Tensor:
        _warn_shapes(name, input, target)
        how = legacy_reduction(size_average, reduce, reduction)
        if weight is None:
            return inner(input, target, how)
        loss = _weighted(inner(input, target, "none"), weight, input)
        return loss.sum() / weight.sum() if how == "mean" else _tensor_reduced(loss, how)

    loss.__doc__ = f"{meaning} A mean is divided by the sum of weights. [...] -> [] or [...]"
    return composite("functional", name=name, function=False)(loss)


def _weighted(loss: Tensor, weight: Tensor, input: Tensor) -> Tensor:
    if size_of(weight) != size_of(input):
        raise ValueError("Weights and input must have the same size.")
    return loss * weight


def _mse(self: Array, target: Array, reduction: str) -> Array:
    return _reduced(jnp.square(self - target), reduction)


@jax.custom_jvp
def _absolute(x: Array) -> Array:
    return jnp.abs(x)


@_absolute.defjvp
def _absolute_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    return _absolute(primals[0]), jnp.sign(primals[0]) * tangents[0]


def _l1(self: Array, target: Array, reduction: str) -> Array:
    return _reduced(_absolute(self - target), reduction)


mse_loss = _elementwise("mse_loss", _mse, "The squared difference.")
l1_loss = _elementwise("l1_loss", _l1, "The absolute difference.", "MeanBackward0")


@op(function=False, promote="arith", layout="pointwise")
def _smooth_l1(self: Array, target: Array, reduction: str, beta: float) -> Array:
    away = jnp.abs(self - target)
    if beta == 0:
        return _l1(self, target, reduction)
    difference = self - target
    small = 0.5 * difference * difference / beta
    return _reduced(jnp.where(away < beta, small, _absolute(difference) - 0.5 * beta), reduction)


@composite("functional", function=False)
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Squared near zero, absolute beyond beta. [...], [...] -> [] or [...]"""
    _warn_shapes("smooth_l1_loss", input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return _smooth_l1(input, target, legacy_reduction(size_average, reduce, reduction), float(beta))


@op(function=False, promote="arith", layout="pointwise")
def _huber(self: Array, target: Array, reduction: str, delta: float) -> Array:
    difference = self - target
    away = _absolute(difference)
    loss = jnp.where(away <= delta, 0.5 * difference * difference, delta * (away - 0.5 * delta))
    return _reduced(loss, reduction)


@composite("functional", function=False)
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Squared up to delta, linear beyond. [...], [...] -> [] or [...]"""
    _warn_shapes("huber_loss", input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    how = legacy_reduction(None, None, reduction)
    if weight is None:
        return _huber(input, target, how, float(delta))
    loss = _weighted(_huber(input, target, "none", float(delta)), weight, input)
    return _tensor_reduced(loss, how)


# Probabilities, divergences --------------------------------------------------------------------


@op(function=False, grad_name="BinaryCrossEntropyBackward0", layout="pointwise")
def _bce(self: Array, target: Array, weight: Array | None, reduction: str) -> Array:
    def log(x: Array) -> Array:
        return jnp.maximum(jnp.log(x), -100)

    loss = -(target * log(self) + (1 - target) * log(1 - self))
    return _reduced(loss if weight is None else loss * weight, reduction)


@composite("functional", function=False)
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of probabilities with targets in [0, 1]. [...], [...] -> [] or [...]"""
    if size_of(input) != size_of(target):
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    return _bce(input, target, weight, legacy_reduction(size_average, reduce, reduction))


@op(function=False, grad_name="BinaryCrossEntropyWithLogitsBackward0", layout="pointwise")
def _bce_logits(
    self: Array, target: Array, weight: Array | None, pos_weight: Array | None, reduction: str
) -> Array:
    log_sigmoid = -jax.nn.softplus(-self)
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    loss = (1 - target) * self - positive * log_sigmoid
    return _reduced(loss if weight is None else loss * weight, reduction)


@composite("functional", function=False)
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of logits with targets in [0, 1]. [...], [...] -> [] or [...]"""
    if size_of(input) != size_of(target):
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    return _bce_logits(
        input, target, weight, pos_weight, legacy_reduction(size_average, reduce, reduction)
    )


@op(function=False, grad_name="KlDivBackward0", layout="pointwise")
def _kl_div(self: Array, target: Array, reduction: str, log_target: bool) -> Array:
    if log_target:
        loss = jnp.exp(target) * (target - self)
    else:
        loss = jax.scipy.special.xlogy(target, target) - target * self
    if reduction == "batchmean":
        return loss.sum() / (self.shape[0] if self.ndim else 1)
    return _reduced(loss, reduction)


@composite("functional", function=False)
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence of log-probabilities from targets. [...] -> [] or [...]"""
    how = (
        reduction if reduction == "batchmean" else legacy_reduction(size_average, reduce, reduction)
    )
    return _kl_div(input, target, how, log_target)


# Margins ---------------------------------------------------------------------------------------


@op(function=False, grad_name="MeanBackward0", layout="pointwise")
def _margin(self: Array, other: Array, target: Array, margin: Scalar, reduction: str) -> Array:
    away = -target * (self - other)
    if jnp.issubdtype(away.dtype, jnp.integer):
        away = away.astype(jnp.float32)
    return _reduced(jnp.maximum(0, away + margin), reduction)


@composite("functional", function=False)
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """How far a pair is from its order. [...], [...], [...] -> [] or [...]"""
    return _margin(
        input1, input2, target, margin, legacy_reduction(size_average, reduce, reduction)
    )


@composite("functional", function=False, autocast=True)
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input for targets 1, max(0, margin - input) for -1. [...], [...] -> [] or [...]"""
    how = legacy_reduction(size_average, reduce, reduction)
    # A target that is neither 1 nor -1 counts for both, as in PyTorch.
    far = (margin - input).clamp_min(0).where(target != 1, 0)
    loss = far + input.where(target != -1, 0)
    return _tensor_reduced(loss, how)


def _tensor_reduced(loss: Tensor, how: str) -> Tensor:
    if how == "mean":
        return loss.mean()
    return loss.sum() if how == "sum" else loss


@jax.custom_jvp
def _log1p_of_exp(x: Array) -> Array:
    return jnp.log1p(jnp.exp(x))


_log1p_of_exp.defjvps(lambda dx, out, x: lax.logistic(x) * dx)


@op(function=False, promote="float", grad_name="SoftMarginLossBackward0", layout="pointwise")
def _soft_margin(self: Array, target: Array) -> Array:
    return _log1p_of_exp(-target * self)


@composite("functional", function=False)
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)). [...], [...] -> [] or [...]"""
    how = legacy_reduction(size_average, reduce, reduction)
    return _tensor_reduced(_soft_margin(input, target), how)


@op(function=False, grad_name="MeanBackward0", layout="pointwise")
def _poisson(
    self: Array, target: Array, log_input: bool, full: bool, eps: float, reduction: str
) -> Array:
    x = self if jnp.issubdtype(self.dtype, jnp.inexact) else self.astype(jnp.float32)
    loss = jnp.exp(x) - target * x if log_input else x - target * jnp.log(x + eps)
    if full:
        safe = jnp.where(target > 1, target, 1)
        stirling = safe * jnp.log(safe) - safe + 0.5 * jnp.log(2 * jnp.pi * safe)
        loss = loss + jnp.where(target > 1, stirling, 0)
    return _reduced(loss, reduction)


@composite("functional", function=False)
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of counts. [...], [...] -> [] or [...]"""
    return _poisson(
        input, target, log_input, full, eps, legacy_reduction(size_average, reduce, reduction)
    )


@op(function=False, grad_name="MeanBackward0", layout="pointwise")
def _gaussian(
    self: Array, target: Array, var: Array | Scalar, full: bool, eps: float, reduction: str
) -> Array:
    var = jnp.asarray(var, self.dtype)
    var = var + lax.stop_gradient(jnp.maximum(var, eps) - var)
    loss = 0.5 * (jnp.log(var) + jnp.square(self - target) / var)
    return _reduced(loss + 0.5 * jnp.log(2 * jnp.pi) if full else loss, reduction)


def _per_row(var: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Variances as a tensor that broadcasts to `shape`: one for each element, or for each row."""
    have = size_of(var)
    if have == shape:
        return var
    if have == shape[:-1]:
        return var.unsqueeze(-1)
    other = [v for n, v in zip(shape, have, strict=False) if n != v]
    if len(have) != len(shape) or sum(other) != 1:
        raise ValueError("var is of incorrect size")
    return var


@composite("functional", function=False)
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of normal variables with these variances. [...] -> [] or [...]"""
    if isinstance(var, float | int):
        if var < 0:
            raise ValueError("var has negative entry/entries")
    elif readable(var) and bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    if isinstance(var, Tensor):
        var = _per_row(var, size_of(input))
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not valid")
    return _gaussian(input, target, var, full, eps, reduction)


@composite("functional", function=False, autocast=True)
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos for targets 1, max(0, cos - margin) for -1. [N, D], [N, D], [N] -> [] or [N]"""
    eps = 1e-12
    product = (input1 * input2).sum(-1)
    cos = product / (((input1 * input1).sum(-1) + eps) * ((input2 * input2).sum(-1) + eps)).sqrt()
    kind = dtype_of(cos)
    loss = (target == 1).to(kind) * (1 - cos) + (target == -1).to(kind) * (cos - margin).clamp_min(
        0
    )
    return _tensor_reduced(loss, legacy_reduction(size_average, reduce, reduction))


@composite("functional", function=False, autocast=True)
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(a, p) - d(a, n) + margin). [N, D] × 3 -> [] or [N]"""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return (x - y + eps).norm(p, -1)

    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    loss = (near - far + margin).clamp_min(0)
    return _tensor_reduced(loss, legacy_reduction(size_average, reduce, reduction))
