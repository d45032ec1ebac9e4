"""torch.distributed.tensor: tensors that lie across a mesh of processes."""

from funtorch.distributed.tensor import placement_types
from funtorch.distributed.tensor._api import DTensor, distribute_tensor
from funtorch.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard

__all__ = [
    "DTensor",
    "Partial",
    "Placement",
    "Replicate",
    "Shard",
    "distribute_tensor",
    "placement_types",
]
