"""Hooks on every module: `torch.nn.modules.module.register_module_forward_hook` and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch.nn.module import ALWAYS_CALLED, GLOBAL_HOOKS, WITH_KWARGS
from funtorch.tape import Handle

Hook = Callable[..., Any]


def register_module_forward_pre_hook(hook: Hook) -> Handle:
    """`hook(module, args)` before every module's forward; may return other arguments."""
    return Handle(GLOBAL_HOOKS["forward_pre"], hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> Handle:
    """`hook(module, args, output)` after every module's forward; may return another output.

    with_kwargs: it gets keyword arguments too, before the output; always_call: after an error too.
    """
    handle = Handle(GLOBAL_HOOKS["forward"], hook)
    if with_kwargs:
        WITH_KWARGS.add(handle.id)
    if always_call:
        ALWAYS_CALLED.add(handle.id)
    return handle


def register_module_full_backward_pre_hook(hook: Hook) -> Handle:
    """`hook(module, grad_output)` before the gradients of every module's inputs are known."""
    return Handle(GLOBAL_HOOKS["full_backward_pre"], hook)


def register_module_full_backward_hook(hook: Hook) -> Handle:
    """`hook(module, grad_input, grad_output)` once every module's gradients are known."""
    return Handle(GLOBAL_HOOKS["full_backward"], hook)
