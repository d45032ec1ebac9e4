"""`torch.ops.aten`: the ops by the names of PyTorch's dispatcher, `torch.ops.aten.add.Tensor`.

An overload's name says which signature is meant; here one function serves them all.
"""

from __future__ import annotations

import functools
from typing import Any

from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor, size_of


class OpOverloadPacket:
    """An op with all its overloads; calling it, or any overload, calls the op."""

    def __init__(self, name: str, facade: Any) -> None:
        self._name = self.__name__ = name
        self._facade = facade

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._facade(*args, **kwargs)

    def __getattr__(self, overload: str) -> OpOverloadPacket:
        if overload.startswith("__"):
            raise AttributeError(overload)
        return self

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='aten.{self._name}')>"


OTHERS: dict[str, Any] = {
    "_pin_memory": lambda self, device=None: self.pin_memory(),
    "_to_copy": lambda self, **options: self.to(copy=True, **options),
    "alias": lambda self: self.view(size_of(self)),
    "index": lambda self, indices: self[tuple(slice(None) if i is None else i for i in indices)],
}
"""Ops that have another name here, or none."""


@functools.cache
def _packet(name: str) -> OpOverloadPacket:
    declared = TABLE.get(name)
    if declared is not None:
        return OpOverloadPacket(name, declared.facade)
    if name in OTHERS:
        return OpOverloadPacket(name, OTHERS[name])
    if name.removesuffix("_") in TABLE and hasattr(Tensor, name):
        return OpOverloadPacket(name, getattr(Tensor, name))
    raise AttributeError(f"'torch.ops.aten' has no op '{name}'")


def __getattr__(name: str) -> OpOverloadPacket:
    return _packet(name)
