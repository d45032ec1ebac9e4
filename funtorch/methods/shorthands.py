"""Views with a short name: T, mT, H, mH, real, imag."""

from __future__ import annotations

from typing import Any

from funtorch.methods.table import METHODS, attribute
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor, size_of


@attribute
def T(self: Tensor) -> Tensor:
    """Dimensions in reverse order."""
    return self.permute(*reversed(range(self._value.aval.ndim)))


@attribute
def mT(self: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if self._value.aval.ndim < 2:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices. Got "
            f"{self._value.aval.ndim}-D tensor."
        )
    return self.transpose(-2, -1)


@attribute
def H(self: Tensor) -> Tensor:
    """A matrix conjugated and transposed."""
    if self._value.aval.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self._value.aval.ndim}-D "
            "tensor."
        )
    return self.transpose(0, 1).conj() if self._value.aval.ndim else self.conj()


@attribute
def mH(self: Tensor) -> Tensor:
    """The last two dimensions exchanged, and conjugated."""
    return mT.fget(self).conj() if size_of(self) else self.conj()


def _part(name: str) -> property:
    def get(self: Tensor) -> Tensor:
        return TABLE[name].facade(self)

    def put(self: Tensor, value: Any) -> None:
        get(self).copy_(
            value
            if isinstance(value, Tensor)
            else TABLE["tensor"].facade(value, dtype=get(self).dtype)
        )

    return property(get, put)


METHODS["real"], METHODS["imag"] = _part("real"), _part("imag")
