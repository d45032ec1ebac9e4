"""Clipping gradients: all of them in one recorded op."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp

from funtorch.grad_mode import no_grad
from funtorch.ops._declare import Array, Scalar, op
from funtorch.ops.from_data import tensor
from funtorch.ops.linalg_norms import vector_norm_of
from funtorch.tensor import Tensor


@op(function=False, differentiable=False)
def _total_norm(tensors: list[Array], p: float) -> Array:
    """The p-norm of all elements of all tensors. -> []"""
    norms = [vector_norm_of(t, p, tuple(range(t.ndim)), False) for t in tensors]
    return vector_norm_of(jnp.stack(norms), p, (0,), False)


@op(function=False, differentiable=False)
def _scaled_down(tensors: list[Array], total: Array, max_norm: Scalar) -> tuple[Array, ...]:
    """All tensors times min(1, max_norm / total)."""
    factor = jnp.minimum(max_norm / (total + 1e-6), 1.0)
    return tuple(t * factor.astype(t.dtype) for t in tensors)


def _gradients(parameters: Any) -> list[Tensor]:
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    return [p.grad for p in parameters if p.grad is not None]


def get_total_norm(
    tensors: Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors together. -> []"""
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not given:
        return tensor(0.0)
    with no_grad():
        total = _total_norm(given, float(norm_type))
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale gradients so that a norm of `total_norm` becomes at most `max_norm`."""
    grads = _gradients(parameters)
    if grads:
        with no_grad():
            for grad, new in zip(
                grads, _scaled_down(grads, total_norm, float(max_norm)), strict=True
            ):
                grad._replace(new)


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale gradients so that their norm is at most `max_norm`; returns the norm before."""
    kept = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(kept), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(kept, max_norm, total)
    return total


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Limit each element of the gradients to [-clip_value, clip_value]."""
    with no_grad():
        for grad in _gradients(parameters):
            grad.clamp_(-float(clip_value), float(clip_value))


def clip_grad_norm(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The old name of `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of "
        "`torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)
