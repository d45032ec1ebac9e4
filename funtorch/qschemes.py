"""`torch.qscheme`: how scales and zero points belong to a tensor."""

from __future__ import annotations

from typing import Any


class Scheme:
    """One way of quantising; the objects of this module are all there are."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> Any:
        return by_name, (self.name,)


per_tensor_affine = Scheme("per_tensor_affine")
per_tensor_symmetric = Scheme("per_tensor_symmetric")
per_channel_affine = Scheme("per_channel_affine")
per_channel_symmetric = Scheme("per_channel_symmetric")
per_channel_affine_float_qparams = Scheme("per_channel_affine_float_qparams")

SYMMETRIC = (per_tensor_symmetric, per_channel_symmetric)
PER_TENSOR = (per_tensor_affine, per_tensor_symmetric)
PER_CHANNEL = (per_channel_affine, per_channel_symmetric, per_channel_affine_float_qparams)
SCHEMES = {made.name: made for made in (*PER_TENSOR, *PER_CHANNEL)}


def by_name(name: str) -> Scheme:
    """The scheme of this name."""
    return SCHEMES[name]
