"""States of models and optimisers with parameters' full names in place of numbers.

Names of wrappers (DistributedDataParallel, FullyShardedDataParallel, torch.compile) are left out, so
that a state fits the bare model too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from funtorch.distributed.names import bare_name, by_bare_names
from funtorch.nn.module import Module
from funtorch.optim import Optimizer
from funtorch.tensor import Tensor

__all__ = [
    "StateDictOptions",
    "get_model_state_dict",
    "get_optimizer_state_dict",
    "get_state_dict",
    "set_model_state_dict",
    "set_optimizer_state_dict",
    "set_state_dict",
]


@dataclass
class StateDictOptions:
    """How states are read and written. One process has everything, so the first means nothing here."""

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False
    dsd_fqn_modifiers: str = "_fqn_modifiers"


def _listed(optimizers: Optimizer | Iterable[Optimizer]) -> list[Optimizer]:
    return [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)


def moved(held: Any, to_cpu: bool) -> Any:
    """On the CPU, if it is a tensor and that is wanted."""
    return held.cpu() if to_cpu and isinstance(held, Tensor) else held


def get_model_state_dict(
    model: Module,
    *,
    submodules: set[Module] | None = None,
    options: StateDictOptions | None = None,
) -> dict[str, Any]:
    """The model's state by bare names."""
    how = options or StateDictOptions()
    if submodules is not None:
        raise NotImplementedError("get_model_state_dict(submodules=...)")
    state = by_bare_names(model, model.state_dict())
    if how.ignore_frozen_params:
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                state.pop(bare_name(model, name), None)
    return type(state)((k, moved(v, how.cpu_offload)) for k, v in state.items())


def set_model_state_dict(
    model: Module, model_state_dict: dict[str, Any], *, options: StateDictOptions | None = None
) -> Any:
    """Load a state by bare names; returns missing and unexpected ones."""
    how = options or StateDictOptions()
    own = {bare_name(model, name): name for name in model.state_dict()}
    given = {own.get(name, name): value for name, value in model_state_dict.items()}
    return model.load_state_dict(given, strict=how.strict)


def _names(model: Module) -> dict[Tensor, str]:
    return {p: bare_name(model, name) for name, p in model.named_parameters()}


def get_optimizer_state_dict(
    model: Module,
    optimizers: Optimizer | Iterable[Optimizer],
    *,
    submodules: set[Module] | None = None,
    options: StateDictOptions | None = None,
) -> dict[str, Any]:
    """Optimisers' state with names for numbers: {"state": {name: ...}, "param_groups": [...]}."""
    how, names = options or StateDictOptions(), _names(model)
    if submodules is not None:
        raise NotImplementedError("get_optimizer_state_dict(submodules=...)")
    state: dict[str, Any] = {}
    groups: list[dict[str, Any]] = []
    for optimizer in _listed(optimizers):
        for parameter, held in optimizer.state.items():
            values = {k: moved(v, how.cpu_offload) for k, v in held.items()}
            state[names[parameter]] = values
        for group in optimizer.param_groups:
            groups.append({**group, "params": [names[p] for p in group["params"]]})
    if not how.flatten_optimizer_state_dict:
        return {"state": state, "param_groups": groups}
    flat = {f"state.{n}.{k}": v for n, held in state.items() for k, v in held.items()}
    for group in groups:
        options_of = {k: v for k, v in group.items() if k != "params"}
        for name in group["params"]:
            flat.update({f"param_groups.{name}.{k}": v for k, v in options_of.items()})
    return flat


def set_optimizer_state_dict(
    model: Module,
    optimizers: Optimizer | Iterable[Optimizer],
    optim_state_dict: dict[str, Any],
    *,
    options: StateDictOptions | None = None,
) -> None:
    """Load what `get_optimizer_state_dict` gave."""
    names = _names(model)
    if "param_groups" not in optim_state_dict:
        optim_state_dict = _unflattened(optim_state_dict, list(names.values()))
    state = optim_state_dict["state"]
    options_of = {name: g for g in optim_state_dict["param_groups"] for name in g["params"]}
    for optimizer in _listed(optimizers):
        own = optimizer.state_dict()
        numbered = {
            number: names[p]
            for saved, group in zip(own["param_groups"], optimizer.param_groups, strict=True)
            for number, p in zip(saved["params"], group["params"], strict=True)
        }
        for group in own["param_groups"]:
            if group["params"]:
                found = options_of[numbered[group["params"][0]]]
                group.update({k: v for k, v in found.items() if k != "params"})
        own["state"] = {i: state[name] for i, name in numbered.items() if name in state}
        optimizer.load_state_dict(own)


def _unflattened(flat: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """A flat state as groups of one parameter each."""
    state: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        kind, _, rest = key.partition(".")
        name, _, field = rest.rpartition(".")
        if name in names:
            table = state if kind == "state" else groups
            table.setdefault(name, {})[field] = value
    return {
        "state": state,
        "param_groups": [{**held, "params": [name]} for name, held in groups.items()],
    }


def get_state_dict(
    model: Module,
    optimizers: Optimizer | Iterable[Optimizer],
    *,
    submodules: set[Module] | None = None,
    options: StateDictOptions | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the model's state, the optimisers')."""
    return (
        get_model_state_dict(model, submodules=submodules, options=options),
        get_optimizer_state_dict(model, optimizers, submodules=submodules, options=options),
    )


def set_state_dict(
    model: Module,
    optimizers: Optimizer | Iterable[Optimizer],
    *,
    model_state_dict: dict[str, Any],
    optim_state_dict: dict[str, Any],
    options: StateDictOptions | None = None,
) -> Any:
    """Load both; returns the model's missing and unexpected names."""
    if _listed(optimizers):
        set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return set_model_state_dict(model, model_state_dict, options=options)
