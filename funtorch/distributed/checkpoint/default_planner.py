"""What a load does about names that a checkpoint lacks."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DefaultLoadPlanner"]


@dataclass
class DefaultLoadPlanner:
    """allow_partial_load: leave tensors that the checkpoint lacks as they are, instead of raising."""

    allow_partial_load: bool = False
