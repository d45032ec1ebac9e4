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
