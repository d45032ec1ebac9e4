"""torch.autograd.Variable: what tensors on the tape were called before they were all one."""

from __future__ import annotations

from typing import Any

from funtorch.tensor import Tensor


class VariableMeta(type):
    """Every tensor is a Variable."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=VariableMeta):
    """`Variable(data, requires_grad=False)` is a new leaf on the same memory."""

    def __new__(  # type: ignore[misc]
        cls, data: Tensor, requires_grad: bool = False, volatile: bool = False
    ) -> Tensor:
        made: Tensor = data.detach()
        return made.requires_grad_(requires_grad)
