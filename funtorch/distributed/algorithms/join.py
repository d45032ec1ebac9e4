"""For members with different numbers of batches: who has none left takes part in name only."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from funtorch.distributed.collectives import all_reduce
from funtorch.distributed.groups import ProcessGroup
from funtorch.distributed.reducing import ReduceOp
from funtorch.distributed.work import Work
from funtorch.ops.from_data import tensor

_WAIT = 1000  # rounds after which a member that has none left says so


class JoinHook:
    """What a joinable does while others still compute, and once all are through."""

    def main_hook(self) -> None:
        """Answer the collectives of one step of the others."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """After all steps of everybody."""


class Config(NamedTuple):
    """How a joinable takes part. first: it is the one that tells of a new step."""

    enable: bool = False
    throw: bool = False
    first: bool = False


class Joinable(abc.ABC):
    """A class whose steps hold collectives. It calls `Join.notify_join_context` before them."""

    _join_config = Config()

    @abc.abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook for this object."""

    @property
    @abc.abstractmethod
    def join_device(self) -> Any:
        """The device of its tensors."""

    @property
    @abc.abstractmethod
    def join_process_group(self) -> ProcessGroup:
        """The group of its collectives."""


def active_members(group: ProcessGroup, active: bool) -> int:
    """How many members still compute. Every one calls it, before each step."""
    count = tensor([int(active)])
    all_reduce(count, group=group)
    return int(count.item())


class Join:
    """Within this context members may make different numbers of steps."""

    def __init__(
        self,
        joinables: Sequence[Joinable],
        enable: bool = True,
        throw_on_early_termination: bool = False,
        **kwargs: Any,
    ) -> None:
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        self._joinables, self._enable = joinables, enable
        self._throw = throw_on_early_termination
        self._hooks = [joinable.join_hook(**kwargs) for joinable in joinables] if enable else []
        self._group = joinables[0].join_process_group

    def __enter__(self) -> None:
        for i, joinable in enumerate(self._joinables):
            joinable._join_config = Config(self._enable, self._throw, i == 0)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for joinable in self._joinables:
            joinable._join_config = Config()
        if not self._enable or kind is not None:
            return
        rounds, last = 0, True
        while active_members(self._group, False):
            if self._throw:
                self._stop()
                raise RuntimeError(f"Rank {self._group.rank()} exhausted all inputs.")
            rounds, last = rounds + 1, False
            if rounds == _WAIT:
                warnings.warn(f"Detected uneven input skew of greater than {_WAIT}.", stacklevel=2)
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(last)

    def _stop(self) -> None:
        """Tell the others that this one raises."""
        all_reduce(tensor([1]), ReduceOp.MAX, self._group)

    @staticmethod
    def notify_join_context(joinable: Joinable) -> Work | None:
        """Say that this member makes a step, which those without input then take part in."""
        config, group = joinable._join_config, joinable.join_process_group
        if not (config.enable and config.first):
            return None
        active = active_members(group, True)
        if config.throw and active < group.size():
            all_reduce(tensor([0]), ReduceOp.MAX, group)
            raise RuntimeError("Detected at least one rank that exhausted inputs.")
        work = Work([tensor([active])])
        work.run(lambda: None, lambda: None)
        return work
