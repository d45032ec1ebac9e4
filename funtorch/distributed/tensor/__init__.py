"""torch.distributed.tensor: tensors that lie across a mesh of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.distributed import device_mesh
from funtorch.distributed.device_mesh import DeviceMesh, init_device_mesh
from funtorch.distributed.tensor import placement_types
from funtorch.distributed.tensor._api import DTensor, distribute_tensor
from funtorch.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard
from funtorch.ops import creation, random

__all__ = [
    "DTensor",
    "DeviceMesh",
    "Partial",
    "Placement",
    "Replicate",
    "Shard",
    "device_mesh",
    "distribute_tensor",
    "empty",
    "full",
    "init_device_mesh",
    "ones",
    "placement_types",
    "rand",
    "randn",
    "zeros",
]


def _made_by(function: Any, name: str) -> Callable[..., DTensor]:
    def make(
        *size: Any,
        device_mesh: DeviceMesh,
        placements: Sequence[Any] | None = None,
        requires_grad: bool = False,
        **options: Any,
    ) -> DTensor:
        whole = function(*size, **options).requires_grad_(requires_grad)
        return distribute_tensor(whole, device_mesh, placements)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"`torch.{name}` as a DTensor."
    return make


zeros = _made_by(creation.zeros, "zeros")
ones = _made_by(creation.ones, "ones")
empty = _made_by(creation.empty, "empty")
full = _made_by(creation.full, "full")
rand = _made_by(random.rand, "rand")
randn = _made_by(random.randn, "randn")
