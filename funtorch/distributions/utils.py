"""Helpers that programs use with distributions."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.distributions._facades import torch
from funtorch.distributions._numbers import clamp_probs, eps_of
from funtorch.grad_mode import enable_grad
from funtorch.tensor import Tensor, from_host

euler_constant = 0.57721566490153286060  # Euler Mascheroni Constant

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]


def broadcast_all(*values: Any) -> tuple[Any, ...]:
    """Tensors of one shape from tensors and numbers; numbers take the dtype of the tensors."""
    if not all(isinstance(v, Tensor | bool | int | float) for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or "
            "objects implementing __torch_function__."
        )
    given = [v for v in values if isinstance(v, Tensor)]
    if len(given) < len(values):
        dtype = given[0].dtype if given else dtypes.get_default_dtype()
        device = given[0].device if given else None
        # Leaves of the program, not constants in it: XLA computes with constants differently, and
        # samples would depend on when they are computed.
        values = tuple(
            v if isinstance(v, Tensor) else from_host(np.array(v, dtype.numpy), device=device)
            for v in values
        )
    return tuple(torch.broadcast_tensors(*values))


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """Probabilities from log-odds, or from unnormalised log-probabilities. [...] -> [...]"""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """Log-odds, or log-probabilities. [...] -> [...]"""
    clear = clamp_probs(probs)
    return clear.log() - (-clear).log1p() if is_binary else clear.log()


class lazy_property:  # noqa: N801  (PyTorch's name)
    """A property that is computed once, with gradients, and then is an ordinary attribute."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return property(self.wrapped)
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def tril_matrix_to_vec(mat: Any, diag: int = 0) -> Any:
    """Entries on and below a diagonal, row by row. [..., n, n] -> [..., m]"""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = _places(n, diag)
    return mat[..., rows, columns]


def _places(n: int, diag: int) -> tuple[list[int], list[int]]:
    pairs = [(i, j) for i in range(n) for j in range(n) if j < i + diag + 1]
    return [i for i, _ in pairs], [j for _, j in pairs]


def vec_to_tril_matrix(vec: Any, diag: int = 0) -> Any:
    """A lower triangular matrix from its entries, row by row. [..., m] -> [..., n, n]"""
    m = vec.shape[-1]
    n = (-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * m + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if round(n) - n > eps_of(vec):
        raise ValueError(
            f"The size of last dimension is {m} which cannot be expressed as the "
            "lower triangular part of a square D x D matrix."
        )
    n = round(n)
    matrix = vec.new_zeros((*vec.shape[:-1], n, n))
    rows, columns = _places(n, diag)
    matrix[..., rows, columns] = vec
    return matrix
