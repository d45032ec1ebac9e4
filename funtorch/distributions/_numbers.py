"""What a tensor's dtype can hold: its step at one, its smallest and largest numbers."""

from __future__ import annotations

from typing import Any

import ml_dtypes


def _info(tensor: Any) -> Any:
    return ml_dtypes.finfo(tensor.dtype.numpy)


def eps_of(tensor: Any) -> float:
    """Distance from one to the next larger number."""
    return float(_info(tensor).eps)


def tiny_of(tensor: Any) -> float:
    """Smallest positive normal number."""
    return float(_info(tensor).tiny)


def largest_of(tensor: Any) -> float:
    """Largest finite number."""
    return float(_info(tensor).max)


def clamp_probs(probs: Any) -> Any:
    """Probabilities kept clear of 0 and 1. [...] -> [...]"""
    eps = eps_of(probs)
    return probs.clamp(min=eps, max=1 - eps)


def xlogy(x: Any, y: Any) -> Any:
    """x log y, which is 0 where both are 0, with finite gradients there. [...] -> [...]"""
    both = (x == 0) & (y == 0)
    return x * y.expand(both.shape).masked_fill(both, 1.0).log()


def length(x: Any) -> Any:
    """Euclidean length along the last dimension. [..., n] -> [...]"""
    return x.pow(2).sum(-1).sqrt()
