"""PyTorch's tracer below autograd has no counterpart: `torch.fx.symbolic_trace` is above it."""

from __future__ import annotations


def get_proxy_mode() -> None:
    """The mode of the tracer that runs: None, for there is none."""
