"""The few names of PyTorch's compiled half that programs use."""  # noqa: N999

from __future__ import annotations

import enum
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from funtorch.device import device as Device
from funtorch.lowering.record import owner
from funtorch.ops.memory import parse_to
from funtorch.overrides import (
    DisableTorchFunction,
    DisableTorchFunctionSubclass,
)
from funtorch.overrides import (
    no_override as _disabled_torch_function_impl,
)
from funtorch.tensor import Tensor

__all__ = [
    "DisableTorchFunction",
    "DisableTorchFunctionSubclass",
    "DispatchKey",
    "DispatchKeySet",
    "_TensorMeta",
    "_are_functorch_transforms_active",
    "_disabled_torch_function_impl",
    "_get_tracing_state",
    "_log_api_usage_once",
]

_TensorMeta = type(Tensor)

DispatchKey = enum.Enum(
    "DispatchKey",
    """Undefined CPU CUDA XPU Meta CompositeImplicitAutograd CompositeExplicitAutograd Autograd
    AutogradCPU AutogradCUDA AutogradXPU ADInplaceOrView BackendSelect Functionalize AutocastCPU
    AutocastCUDA AutocastXPU""".split(),  # noqa: SIM905
    module=__name__,
)
"""Keys of PyTorch's dispatcher, by name. Nothing here is dispatched by them."""


class DispatchKeySet:
    """A set of dispatch keys."""

    def __init__(self, keys: DispatchKey | Iterable[DispatchKey]) -> None:
        self._keys = frozenset([keys] if isinstance(keys, DispatchKey) else keys)

    def has(self, key: DispatchKey) -> bool:
        """Is the key among them?"""
        return key in self._keys

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._keys | other._keys)

    def __and__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._keys & other._keys)

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._keys - other._keys)


def _are_functorch_transforms_active() -> bool:
    """Is a function being recorded for a transform, an export or the like?"""
    return owner().capture is not None


def _get_tracing_state() -> None:
    """The state of TorchScript's tracer: None, for there is none."""


def _parse_to(*args: Any, **options: Any) -> tuple[Any, ...]:
    """What arguments of `to` say: (device, dtype, non_blocking, memory_format)."""
    dtype, device, rest = parse_to(*args, **options)
    where = None if device is None else Device(device)
    return where, dtype, rest["non_blocking"], rest["memory_format"]


_nn = SimpleNamespace(_parse_to=_parse_to)


def _log_api_usage_once(name: str) -> None:
    """Nothing: no use is counted."""
