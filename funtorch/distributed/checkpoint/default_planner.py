"""Which pieces a process writes and reads, as far as there is a choice."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DefaultLoadPlanner", "DefaultSavePlanner"]


@dataclass
class DefaultSavePlanner:
    """Nested containers are saved flat; what several processes have is saved once."""

    flatten_state_dict: bool = True
    flatten_sharded_tensors: bool = True
    dedup_replicated_tensors: bool | None = None
    dedup_save_to_lowest_rank: bool = False
    enable_plan_caching: bool = False

    def __post_init__(self) -> None:
        if not self.flatten_state_dict:
            raise NotImplementedError("DefaultSavePlanner(flatten_state_dict=False)")


@dataclass
class DefaultLoadPlanner:
    """allow_partial_load: names that the checkpoint does not have keep their values."""

    flatten_state_dict: bool = True
    flatten_sharded_tensors: bool = True
    allow_partial_load: bool = False
