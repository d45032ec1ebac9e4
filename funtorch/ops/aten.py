"""`torch.ops.aten`: the ops by the names of PyTorch's dispatcher, `torch.ops.aten.add.Tensor`.

An overload's name says which signature is meant; here one function serves them all.
"""

from __future__ import annotations

import functools
from typing import Any

from funtorch.ops._declare import TABLE


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


@functools.cache
def _packet(name: str) -> OpOverloadPacket:
    return OpOverloadPacket(name, TABLE[name].facade)


def __getattr__(name: str) -> OpOverloadPacket:
    if name not in TABLE:
        raise AttributeError(f"'torch.ops.aten' has no op '{name}'")
    return _packet(name)
