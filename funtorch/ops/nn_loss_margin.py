"""Losses of several classes with margins, and of linear layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from funtorch.ops._bounds import Index
from funtorch.ops._declare import TABLE, Array, composite, op
from funtorch.ops.nn_loss import _reduced, _tensor_reduced, legacy_reduction
from funtorch.ops.nn_loss_classes import cross_entropy
from funtorch.tensor import Tensor, dtype_of, size_of


@op(
    function=False,
    grad_name="MultiMarginLossBackward0",
    index=Index("target", dim=-1, error=RuntimeError, message="target out of range"),
)
def _multi_margin(
    self: Array, target: Array, weight: Array | None, p: int, margin: float, reduction: str
) -> Array:
    x, t = (self, target) if self.ndim == 2 else (self[None], target.reshape(1))
    own = jnp.take_along_axis(x, t[:, None], 1)
    gaps = jnp.maximum(margin - own + x, 0)
    gaps = gaps if p == 1 else gaps * gaps
    if weight is not None:
        gaps = gaps * weight[t][:, None]
    others = jnp.arange(x.shape[1]) != t[:, None]
    loss = jnp.where(others, gaps, 0).sum(1) / x.shape[1]
    return _reduced(loss if self.ndim == 2 or reduction != "none" else loss[0], reduction)


@composite("functional", function=False)
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - x[target] + x[i])^p over i != target. [n, c], [n] -> [] or [n]"""
    how = legacy_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    rows = size_of(input)[0] if input.ndim == 2 else 1
    if input.ndim > 2 or (input.ndim and input.shape[-1] == 0):
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    if target.ndim > 1 or target.numel() != rows:
        raise RuntimeError(
            f"inconsistent target size, expected {rows} but got {list(target.shape)}"
        )
    if weight is not None and weight.numel() != input.shape[-1]:
        raise RuntimeError(
            f"inconsistent weight size, expected {input.shape[-1]} but got {list(weight.shape)}"
        )
    x = input if input.ndim else input.reshape(1)
    return _multi_margin(x, target, weight, p, float(margin), how)


@op(function=False, grad_name="MultilabelMarginLossBackward0")
def _multilabel_margin(self: Array, target: Array, reduction: str) -> Array:
    x = self.reshape(1, -1) if self.ndim < 2 else self
    t = target.reshape(x.shape)
    listed = jnp.cumprod(t >= 0, 1).astype(bool)  # the labels end at the first -1
    safe = jnp.where(listed, t, 0)
    n, c = x.shape
    rows = jnp.arange(n)[:, None]
    is_label = jnp.zeros((n, c), bool).at[rows, safe].max(listed)
    own = jnp.take_along_axis(x, safe, 1)
    gaps = jnp.maximum(1 - own[:, :, None] + x[:, None, :], 0)  # [n, label, class]
    counted = listed[:, :, None] & ~is_label[:, None, :]
    loss = jnp.where(counted, gaps, 0).sum((1, 2)) / c
    return _reduced(loss[0] if self.ndim < 2 and reduction == "none" else loss, reduction)


@composite("functional", function=False)
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Every listed label against every other class. [n, c], [n, c] of labels -> [] or [n]"""
    how = legacy_reduction(size_average, reduce, reduction)
    if input.ndim > 2 or (input.ndim and not input.shape[-1]):
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    if target.numel() != input.numel() or target.ndim > 2:
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    return _multilabel_margin(input, target, how)


@composite("functional", function=False)
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean binary cross-entropy over the classes. [n, c], [n, c] -> [] or [n]"""
    how = legacy_reduction(size_average, reduce, reduction)
    log_sigmoid = TABLE["logsigmoid"].facade
    loss = -(target * log_sigmoid(input) + (1 - target) * log_sigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return _tensor_reduced(loss.sum(-1) / input.shape[-1], how)


@composite("functional", function=False)
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(a, p) - d(a, n) + margin) with any distance. [n, d] × 3 -> [] or [n]"""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    distance = distance_function or TABLE["pairwise_distance"].facade
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return _tensor_reduced((near - far + margin).clamp_min(0), reduction)


@composite("functional", function=False)
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight), target). [n, in], [c, ..., in] -> [] or [n, ...]

    options: how PyTorch cuts the work into chunks; XLA plans its memory itself.
    """
    is_class = not dtype_of(target).is_floating_point
    _check_linear(input, linear_weight, linear_bias)
    if ignore_index is not None and not is_class:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    classes, *space, width = size_of(linear_weight)
    rows, given = size_of(input)[:1], size_of(target)[:1]
    if input.ndim == 2 and given and rows != given:
        raise ValueError(
            f"Expected input batch_size ({rows[0]}) to match target batch_size ({given[0]})."
        )
    logits = TABLE["linear"].facade(input, linear_weight.reshape(-1, width))
    lead = size_of(input)[:-1]
    logits = logits.reshape(*lead, classes, *space)
    if linear_bias is not None:
        logits = logits + linear_bias
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        logits,
        target,
        weight,
        ignore_index=ignored if is_class else -100,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def _check_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Raise RuntimeError unless these can be a batch (or a row), its weights and its offsets."""
    have, wanted = size_of(input), size_of(weight)
    if len(have) not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {len(have)}")
    if len(wanted) < 2:
        raise RuntimeError(
            f"expected linear_weight with dimensionality at least 2, got {len(wanted)}"
        )
    if len(wanted) > 2 and len(have) == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {wanted} requires batched input, "
            f"(N, {have[0]}), got unbatched input with shape {have}"
        )
    if have[-1] != wanted[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{have[-1]} and {wanted[-1]}, respectively"
        )
    if bias is not None and size_of(bias) != wanted[:-1]:
        raise RuntimeError(f"expected linear_bias shape {wanted[:-1]}, got {size_of(bias)}")
