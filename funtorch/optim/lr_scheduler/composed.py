"""Schedules of schedules: one after the other, or all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch.optim.lr_scheduler.base import LRScheduler, copied, set_rate
from funtorch.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Schedules one after the other, changed at milestones."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if not schedulers:
            raise ValueError(
                "SequentialLR expects at least one scheduler to be chained, but got no scheduler."
            )
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than "
                f"the number of milestone points, but got number of schedulers {len(schedulers)} "
                f"and the number of milestones to be equal to {len(milestones)}"
            )
        for scheduler in schedulers:
            if getattr(scheduler, "optimizer", optimizer) is not optimizer:
                raise ValueError(
                    "Sequential Schedulers expects all schedulers to belong to the same optimizer, "
                    f"but got {type(scheduler).__name__} with another one."
                )
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.last_epoch, self.optimizer = last_epoch + 1, optimizer
        for group in optimizer.param_groups:
            set_rate(group, group["initial_lr"])
        for scheduler in schedulers:
            scheduler.last_epoch -= 1
        schedulers[0].step()
        self._last_lr = schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch."""
        self.last_epoch += 1
        index = sum(self.last_epoch >= m for m in self._milestones)
        chosen = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            chosen.step(0)
        else:
            chosen.step()
        self._last_lr = chosen.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """The states of all schedules."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_schedulers")}
        state["_schedulers"] = [s.state_dict() for s in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the states of all schedules."""
        rest = dict(state_dict)
        for scheduler, state in zip(self._schedulers, rest.pop("_schedulers"), strict=True):
            scheduler.load_state_dict(state)
        self.__dict__.update(rest)


class ChainedScheduler(LRScheduler):
    """Several schedules at once: each changes what the one before has set."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if not schedulers:
            raise ValueError(
                "ChainedScheduler expects at least one scheduler to be chained, but got no "
                "scheduler."
            )
        optimizer = optimizer or schedulers[0].optimizer
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(
                    f"ChainedScheduler at index {i} should have `optimizer` as its attribute."
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(
                    "ChainedScheduler expects all schedulers to belong to the same optimizer, but "
                    f"got scheduler {type(scheduler).__name__} at index {i} with another one."
                )
        self._schedulers, self.optimizer = list(schedulers), optimizer
        self._note_rates()

    def _note_rates(self) -> None:
        groups = self._schedulers[-1].optimizer.param_groups
        self._last_lr = [copied(group["lr"]) for group in groups]

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch with every schedule."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._note_rates()

    state_dict = SequentialLR.state_dict
    load_state_dict = SequentialLR.load_state_dict
