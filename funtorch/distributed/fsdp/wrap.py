"""Which submodules are wrapped one by one: policies, and the walk that asks them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from funtorch.nn.containers import ModuleDict, ModuleList
from funtorch.nn.module import Module

Policy = Callable[..., bool]


def always_wrap_policy(*args: Any, **kwargs: Any) -> bool:
    """Every module."""
    return True


def lambda_auto_wrap_policy(
    module: Module, recurse: bool, nonwrapped_numel: int, lambda_fn: Callable[[Module], bool]
) -> bool:
    """Modules for which a function says so."""
    return recurse or lambda_fn(module)


def transformer_auto_wrap_policy(
    module: Module, recurse: bool, nonwrapped_numel: int, transformer_layer_cls: Iterable[type]
) -> bool:
    """Modules of some classes."""
    return recurse or isinstance(module, tuple(transformer_layer_cls))


def size_based_auto_wrap_policy(
    module: Module,
    recurse: bool,
    nonwrapped_numel: int,
    min_num_params: int = 100_000_000,
    force_leaf_modules: Any = None,
    exclude_wrap_modules: Any = None,
) -> bool:
    """Modules with so many parameters that are not wrapped yet."""
    kept_whole = tuple(force_leaf_modules or ())
    left_out = tuple(exclude_wrap_modules or (ModuleList, ModuleDict))
    large = nonwrapped_numel >= min_num_params
    if recurse:
        return large and not isinstance(module, kept_whole)
    return large and not isinstance(module, left_out)


class ModuleWrapPolicy:
    """Modules of some classes, as an object."""

    def __init__(self, module_classes: Iterable[type]) -> None:
        self._classes = tuple(module_classes)

    def __call__(
        self, module: Module, recurse: bool, nonwrapped_numel: int = 0, **rest: Any
    ) -> bool:
        return recurse or isinstance(module, self._classes)


class CustomPolicy:
    """Modules for which a function says so, as an object."""

    def __init__(self, lambda_fn: Callable[[Module], Any]) -> None:
        self._says = lambda_fn

    def __call__(
        self, module: Module, recurse: bool, nonwrapped_numel: int = 0, **rest: Any
    ) -> bool:
        return recurse or bool(self._says(module))


def wrapped_inside(module: Module, policy: Policy, make: Callable[[Module], Module]) -> int:
    """Wrap the submodules that a policy chooses, innermost first; returns what they hold."""
    total = 0
    for name, part in list(module._modules.items()):
        if part is None:
            continue
        size = sum(p.numel() for p in part.parameters())
        if not policy(module=part, recurse=True, nonwrapped_numel=size):
            continue
        inside = wrapped_inside(part, policy, make)
        if policy(module=part, recurse=False, nonwrapped_numel=size - inside):
            module._modules[name] = make(part)
            inside = size
        total += inside
    return total


_around: list[tuple[Callable[..., Module], dict[str, Any]]] = []


@contextlib.contextmanager
def enable_wrap(*, wrapper_cls: Any, **wrapper_kwargs: Any) -> Iterator[None]:
    """Within it, `wrap` wraps."""
    _around.append((wrapper_cls, wrapper_kwargs))
    try:
        yield
    finally:
        _around.pop()


def wrap(module: Module, **wrap_overrides: Any) -> Module:
    """The module wrapped as `enable_wrap` says; itself outside of it."""
    if not _around:
        return module
    make, options = _around[-1]
    return functools.partial(make, **{**options, **wrap_overrides})(module)
