"""The outermost of nested sharded modules averages the gradients of all of them."""

from __future__ import annotations

from typing import Any

from funtorch.distributed.averaging import AverageAlways
from funtorch.distributed.buckets import broadcast_all
from funtorch.distributed.groups import ProcessGroup
from funtorch.nn.module import Module


def together(module: Module, group: ProcessGroup, dtype: Any) -> AverageAlways:
    """Make parameters and buffers those of the group's first member, gradients the mean from now on.

    Modules within, that were doing so for themselves, leave it to this one.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    for part in module.modules():
        inner = part.__dict__.get("_averaging")
        if isinstance(inner, AverageAlways):
            inner.on = False
    made = AverageAlways(parameters, group, dtype)
    made.on = group.size() > 1 and bool(parameters)
    if group.size() > 1:
        broadcast_all([*module.parameters(), *module.buffers()], 0, group)
    return made
