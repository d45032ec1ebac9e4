"""torch.autograd.forward_ad, as far as programs ask whether a tensor is dual.

Dual tensors are not there, so none is: forward derivatives are those of `torch.func.jvp`.
"""

from __future__ import annotations

from typing import NamedTuple

from funtorch.tensor import Tensor


class UnpackedDualTensor(NamedTuple):
    """A tensor and its derivative."""

    primal: Tensor
    tangent: Tensor | None


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor, and None."""
    return UnpackedDualTensor(tensor, None)
