"""torch.distributed.optim: an optimiser whose state the members of a group share out."""

from __future__ import annotations

from typing import Any

from funtorch.distributed.buckets import broadcast_all
from funtorch.distributed.collectives import barrier
from funtorch.distributed.groups import get_rank, member_of
from funtorch.distributed.objects import recv_object_list, send_object_list
from funtorch.optim import Optimizer
from funtorch.tensor import Tensor

__all__ = ["ZeroRedundancyOptimizer"]


class ZeroRedundancyOptimizer(Optimizer):
    """Wraps an optimiser of a class given. Each member keeps the state of its share of the parameters,
    steps those, and receives the others' from their members. (Rajbhandari et al. 2020, stage 1)
    """

    def __init__(
        self,
        params: Any,
        optimizer_class: type[Optimizer],
        process_group: Any = None,
        parameters_as_bucket_view: bool = False,
        overlap_with_ddp: bool = False,
        **defaults: Any,
    ) -> None:
        self.process_group = member_of(process_group)
        if overlap_with_ddp:
            raise NotImplementedError("ZeroRedundancyOptimizer(overlap_with_ddp=True)")
        self._make, self._defaults = optimizer_class, defaults
        self._all_states: list[Any] = []
        super().__init__(params, defaults)
        self._share()

    def _share(self) -> None:
        """Give out the parameters, large ones first, each to who has least; make the own optimiser."""
        every = [p for group in self.param_groups for p in group["params"]]
        loads = [0] * self.process_group.size()
        self._owner: dict[Tensor, int] = {}
        for p in sorted(every, key=lambda p: -p.numel()):
            rank = loads.index(min(loads))
            loads[rank] += p.numel()
            self._owner[p] = rank
        own = [{**group, "params": self._own(group)} for group in self.param_groups]
        before = getattr(self, "optim", None)
        self.optim = self._make(own, **self._defaults)
        for mine, theirs in zip(self.param_groups, self.optim.param_groups, strict=True):
            mine.update({k: v for k, v in theirs.items() if k != "params"})
        if before is not None:
            self.optim.state.update(before.state)
        self.defaults, self.state = self.optim.defaults, self.optim.state

    def _own(self, group: dict[str, Any], rank: int | None = None) -> list[Tensor]:
        """A member's parameters in a group."""
        whose = self.process_group.rank() if rank is None else rank
        return [p for p in group["params"] if self._owner[p] == whose]

    def _sync_groups(self) -> None:
        """A schedule writes rates into the groups that users see."""
        for mine, theirs in zip(self.param_groups, self.optim.param_groups, strict=True):
            theirs.update({k: v for k, v in mine.items() if k != "params"})

    def step(self, closure: Any = None, **kwargs: Any) -> Any:
        """The optimiser's step, on the own share; then everybody has all parameters."""
        self._sync_groups()
        loss = self.optim.step(closure, **kwargs) if closure else self.optim.step(**kwargs)
        if self.process_group.size() > 1:
            for rank in range(self.process_group.size()):
                theirs = [p for group in self.param_groups for p in self._own(group, rank)]
                broadcast_all(theirs, rank, self.process_group)
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own."""
        super().add_param_group(param_group)
        if hasattr(self, "optim"):
            self._share()

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Bring all members' state to the rank `to`, whose `state_dict` gives it."""
        self._sync_groups()
        group, self._all_states = self.process_group, []
        if group.ranks[group.rank()] != to:
            send_object_list([self._numbered()], to, group)
        else:
            for rank in group.ranks:
                got = [self._numbered()]
                if rank != to:
                    recv_object_list(got, rank, group)
                self._all_states.append(got[0])
        barrier(group)

    def _numbered(self) -> dict[int, Any]:
        """The own share's state by the parameters' numbers in all groups."""
        every = [p for group in self.param_groups for p in group["params"]]
        return {i: self.state[p] for i, p in enumerate(every) if p in self.state}

    def state_dict(self) -> dict[str, Any]:
        """The state of all. Raises RuntimeError unless it was brought here."""
        states = self._all_states
        if self.process_group.size() == 1:
            states = [self._numbered()]
        if not states:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. Please call "
                f"`consolidate_state_dict(to={get_rank()})` on all ranks beforehand if you meant "
                "to save the global state."
            )
        found = super().state_dict()
        found["state"] = {i: held for state in states for i, held in state.items()}
        found["state"] = dict(sorted(found["state"].items()))
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state of all; the own share is kept."""
        every = [p for group in self.param_groups for p in group["params"]]
        own = {i for i, p in enumerate(every) if self._owner[p] == self.process_group.rank()}
        kept = {i: held for i, held in state_dict["state"].items() if i in own}
        super().load_state_dict({**state_dict, "state": kept})
        self.optim.state.clear()
        self.optim.state.update(self.state)
        self.state = self.optim.state
        self._sync_groups()
