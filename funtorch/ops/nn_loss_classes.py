"""Losses of one class among several: negative log-likelihood, cross-entropy."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from funtorch.ops._bounds import Index
from funtorch.ops._declare import Array, composite, op
from funtorch.ops.nn_loss import legacy_reduction
from funtorch.tensor import Tensor


def _picked(
    log_p: Array, target: Array, weight: Array | None, ignore: int, reduction: str
) -> Array:
    """Minus the log-probabilities of the target classes. log_p: [N, C, ...], target: [N, ...]"""
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise RuntimeError(f"expected scalar type Long but found {target.dtype}")
    if weight is not None and weight.dtype != log_p.dtype:
        raise RuntimeError(f"expected scalar type {log_p.dtype} but found {weight.dtype}")
    valid = target != ignore
    safe = jnp.where(valid, target, 0)
    axis = 1 if log_p.ndim > 1 else 0
    # A comparison instead of a gather: its gradient needs no scatter, which XLA:CPU runs slowly.
    classes = log_p.shape[axis]
    if classes <= 4096:
        shape = [1] * log_p.ndim
        shape[axis] = classes
        hit = jnp.expand_dims(safe, axis) == jnp.arange(classes).reshape(shape)
        chosen = jnp.where(hit, log_p, 0).sum(axis)
    else:
        chosen = jnp.take_along_axis(log_p, jnp.expand_dims(safe, axis), axis).squeeze(axis)
    scale = valid.astype(log_p.dtype) if weight is None else jnp.where(valid, weight[safe], 0)
    loss = -chosen * scale
    if reduction == "mean":
        return loss.sum() / scale.sum()
    return loss.sum() if reduction == "sum" else loss


def _check_target(x: Array, target: Array) -> None:
    if x.ndim == 1:
        if target.ndim > 1:
            raise RuntimeError("1D target tensor expected, multi-target not supported")
        return
    if target.ndim and target.shape[0] != x.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size "
            f"({target.shape[0]})."
        )
    if target.ndim != x.ndim - 1:
        raise RuntimeError(
            f"{target.ndim}D target tensor given for an input of {x.ndim}D; "
            f"expected {x.ndim - 1}D (multi-target not supported)"
        )
    if x.shape[2:] != target.shape[1:]:
        raise RuntimeError(
            f"Expected target size {[x.shape[0], *x.shape[2:]]}, got {list(target.shape)}"
        )


_TARGET = Index("target", dim=1, ignored="ignore_index", message="Target {bad} is out of bounds.")


@op(
    function=False,
    saves=("self", "target", "weight"),
    grad_name="NllLossBackward0",
    index=_TARGET,
)
def _nll(
    self: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str
) -> Array:
    _check_target(self, target)
    return _picked(self, target, weight, ignore_index, reduction)


@composite("functional", function=False)
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of log-probabilities. [N, C, ...], [N, ...] -> [] or [N, ...]"""
    return _nll(
        input, target, weight, ignore_index, legacy_reduction(size_average, reduce, reduction)
    )


@op(function=False, grad_name="NllLossBackward0", index=_TARGET)
def _cross_entropy(
    self: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Array:
    axis = 1 if self.ndim > 1 else 0
    log_p = jax.nn.log_softmax(self, axis)
    if weight is not None and weight.shape != (self.shape[axis],):
        raise RuntimeError(
            f"weight tensor should be defined either for all {self.shape[axis]} classes or no "
            f"classes but got weight tensor of shape: {list(weight.shape)}"
        )
    if self.shape == target.shape and jnp.issubdtype(target.dtype, jnp.floating):
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _soft_targets(log_p, target, weight, reduction, smoothing, axis)
    _check_target(self, target)
    loss = _picked(log_p, target, weight, ignore_index, reduction)
    if smoothing == 0:
        return loss
    return (1 - smoothing) * loss + smoothing * _uniform_part(
        log_p, target, weight, ignore_index, reduction, axis
    )


def _uniform_part(
    log_p: Array, target: Array, weight: Array | None, ignore: int, reduction: str, axis: int
) -> Array:
    classes = log_p.shape[axis]
    shaped = 1 if weight is None else _along(weight, log_p.ndim, axis)
    spread = -(log_p * shaped).sum(axis) / classes
    valid = target != ignore
    spread = jnp.where(valid, spread, 0)
    if reduction == "mean":
        count = (
            valid.sum()
            if weight is None
            else jnp.where(valid, weight[jnp.where(valid, target, 0)], 0).sum()
        )
        return spread.sum() / count
    return spread.sum() if reduction == "sum" else spread


def _along(vector: Array, ndim: int, axis: int) -> Array:
    shape = [1] * ndim
    shape[axis] = vector.size
    return vector.reshape(shape)


def _soft_targets(
    log_p: Array, target: Array, weight: Array | None, reduction: str, smoothing: float, axis: int
) -> Array:
    classes = log_p.shape[axis]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    weighted = log_p if weight is None else log_p * _along(weight, log_p.ndim, axis)
    loss = -(weighted * target).sum(axis)
    if reduction == "mean":
        return loss.sum() / (log_p.size // classes)
    return loss.sum() if reduction == "sum" else loss


@composite("functional", function=False)
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of logits with class indices or probabilities. [N, C, ...] -> [] or [N, ...]"""
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    return _cross_entropy(
        input,
        target,
        weight,
        ignore_index,
        legacy_reduction(size_average, reduce, reduction),
        float(label_smoothing),
    )
