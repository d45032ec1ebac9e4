"""Parameters' names without what wrappers add to them."""

from __future__ import annotations

from typing import Any

from funtorch.nn.module import Module
from funtorch.nn.parallel import DataParallel, DistributedDataParallel

WRAPPED = "_fsdp_wrapped_module"


def bare_name(model: Module, name: str) -> str:
    """The name that a parameter or buffer would have if nothing in the model were wrapped."""
    kept, at = [], model
    for part in name.split("."):
        parallel = part == "module" and isinstance(at, DataParallel | DistributedDataParallel)
        if not parallel and part not in (WRAPPED, "_orig_mod"):
            kept.append(part)
        at = at._modules.get(part) if isinstance(at, Module) else None
    return ".".join(kept)


def by_bare_names(model: Module, state: dict[str, Any]) -> dict[str, Any]:
    """A model's state dict under bare names, in the same order."""
    return type(state)((bare_name(model, name), value) for name, value in state.items())
