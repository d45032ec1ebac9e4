"""torch.distributed.optim: an optimiser whose state processes share; here one has it all."""

from __future__ import annotations

from typing import Any

from funtorch.distributed.groups import member_of
from funtorch.optim import Optimizer

__all__ = ["ZeroRedundancyOptimizer"]


class ZeroRedundancyOptimizer(Optimizer):
    """Wraps an optimiser of a class given, whose groups and state it shows as its own."""

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
        self.optim = optimizer_class(params, **defaults)
        self.defaults = self.optim.defaults
        self._init_hooks()
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.optim.param_groups, self.optim.state

    def step(self, closure: Any = None, **kwargs: Any) -> Any:
        """The optimiser's step."""
        return self.optim.step(closure, **kwargs) if closure else self.optim.step(**kwargs)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own."""
        self.optim.add_param_group(param_group)

    def consolidate_state_dict(self, to: int = 0) -> None:
        """The state is all here."""

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state."""
        return self.optim.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state."""
        self.optim.load_state_dict(state_dict)
        self._share()
