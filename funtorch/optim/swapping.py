"""An optimiser that acts on other parameters and another state for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from funtorch.optim.optimizer import Optimizer
from funtorch.tensor import Tensor


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: dict[str, Tensor], swapin_optim_state: dict[str, Any]
) -> Iterator[None]:
    """Within it, the optimiser has these parameters (in the order of its own) and this state.

    swapin_optim_state: as `optimizer.state_dict()` gives it. Raises ValueError if numbers differ.
    """
    groups, saved = optimizer.param_groups, swapin_optim_state["param_groups"]
    wanted, given = sum(len(g["params"]) for g in groups), list(swapin_parameters.values())
    if len(saved) != len(groups) or len(given) != wanted:
        raise ValueError(
            f"expected {wanted} parameters in {len(groups)} groups, but got {len(given)} in "
            f"{len(saved)}"
        )
    state: defaultdict[Any, Any] = defaultdict(dict)
    for number, held in swapin_optim_state["state"].items():
        state[given[number] if isinstance(number, int) else number] = dict(held)
    before, snapshots = optimizer.state, [dict(g) for g in groups]
    try:
        optimizer.state = state
        for group, new in zip(groups, saved, strict=True):
            group.update({**new, "params": [given[i] for i in new["params"]]})
        yield
    finally:
        optimizer.state = before
        for group, old in zip(groups, snapshots, strict=True):
            group.clear()
            group.update(old)
