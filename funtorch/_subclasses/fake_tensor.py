"""Fake tensors, PyTorch's way to run a compiler's passes. Here nothing is fake: shapes are inferred."""

from __future__ import annotations


def is_fake(x: object) -> bool:
    """Is it a tensor without data that says it has some? Never."""
    return False
