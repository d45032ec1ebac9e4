"""Modules as functions: functional_call and stack_module_state."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from funtorch.nn.norm import _BatchNorm
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with these parameters and buffers instead of its own.

    parameter_and_buffer_dicts: name -> Tensor, or a tuple of such dicts.
    """
    given = parameter_and_buffer_dicts
    if isinstance(given, Sequence):
        joined: dict[str, Tensor] = {}
        for part in given:
            joined.update(part)
        given = joined
    if not isinstance(given, dict):
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with _swapped(module, given, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def _swapped(module: Any, given: dict[str, Tensor], tie: bool, strict: bool) -> Iterator[None]:
    own = dict(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))
    unknown = [name for name in given if name not in own]
    if strict and (unknown or set(own) - set(given)):
        raise RuntimeError(
            f"Error(s) in loading state: unexpected {unknown}, missing {sorted(set(own) - set(given))}"
        )
    if unknown:
        raise KeyError(f"{unknown[0]} is not a parameter or buffer of the module")
    full = dict(given)
    if tie:
        by_id = {id(own[name]): value for name, value in given.items()}
        for name, value in own.items():
            if name not in full and id(value) in by_id:
                full[name] = by_id[id(value)]
    places = [_place(module, name) for name in full]
    before = [store[leaf] for store, leaf in places]
    for (store, leaf), value in zip(places, full.values(), strict=True):
        store[leaf] = value
    try:
        yield
    finally:
        for (store, leaf), value in zip(places, before, strict=True):
            store[leaf] = value


def _place(module: Any, name: str) -> tuple[dict[str, Any], str]:
    """The dict (of parameters or buffers) that holds a name, and its last part."""
    *path, leaf = name.split(".")
    for part in path:
        module = module._modules[part]
    return (module._parameters if leaf in module._parameters else module._buffers), leaf


def stack_module_state(models: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of equal modules, stacked along a new first dimension."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or not any(m.training for m in models)):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    stack = TABLE["stack"].facade
    params = {
        name: _leaf(stack([dict(m.named_parameters())[name].detach() for m in models]), p)
        for name, p in models[0].named_parameters()
    }
    buffers = {
        name: stack([dict(m.named_buffers())[name] for m in models])
        for name, _ in models[0].named_buffers()
    }
    return params, buffers


def _leaf(stacked: Tensor, like: Tensor) -> Tensor:
    return stacked.requires_grad_(like.requires_grad)


__all__ = ["functional_call", "stack_module_state"]


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """`func` itself: what it writes in place is recorded without being written already."""
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            f"functionalize(f, remove={remove}): expected remove to be 'mutations' or "
            "'mutations_and_views'"
        )
    return functools.wraps(func)(lambda *args, **kwargs: func(*args, **kwargs))


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Let all batch norms in a module forget their running statistics, which transforms cannot move."""
    for part in root.modules():
        if isinstance(part, _BatchNorm):
            part.running_mean = part.running_var = part.num_batches_tracked = None
            part.track_running_stats = False
    return root
