"""torch.distributed.device_mesh: a grid of processes, here of one; every dimension has extent 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from funtorch import dtypes
from funtorch.distributed.groups import ProcessGroup, init_process_group, is_initialized, member_of
from funtorch.ops.creation import zeros
from funtorch.ops.from_data import as_tensor
from funtorch.tensor import Tensor

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """Process 0 in as many dimensions as wanted. mesh: numbers of processes, all of them zero.

    Makes the default group if there is none. Raises RuntimeError for more than one process.
    """

    def __init__(
        self, device_type: str, mesh: Any, *, mesh_dim_names: Sequence[str] | None = None
    ) -> None:
        self.device_type = device_type
        self.mesh: Tensor = as_tensor(mesh, dtype=dtypes.int32)
        self.mesh_dim_names = None if mesh_dim_names is None else tuple(mesh_dim_names)
        if self.mesh.numel() != 1:
            raise RuntimeError(
                "Mesh should not be bigger than default world size 1, but found "
                f"{self.mesh.numel()} ranks!"
            )
        if not is_initialized():
            init_process_group()

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.mesh.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""
        return tuple(self.mesh.shape)

    def size(self, mesh_dim: int | None = None) -> int:
        """Processes in all, or along one dimension."""
        return self.mesh.numel() if mesh_dim is None else self.mesh.size(mesh_dim)

    def get_group(self, mesh_dim: int | str | None = None) -> ProcessGroup:
        """The processes along a dimension, which may be left out if there is only one."""
        if mesh_dim is None and self.ndim > 1:
            raise RuntimeError(
                f"Found the DeviceMesh have {self.ndim} dimensions; mesh_dim needs to be specified"
            )
        if isinstance(mesh_dim, str):
            self[mesh_dim]
        return member_of(None)

    def get_all_groups(self) -> list[ProcessGroup]:
        """One group for each dimension."""
        return [member_of(None)] * self.ndim

    def get_rank(self) -> int:
        """This process."""
        return 0

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This process's place along a dimension."""
        self.get_group(mesh_dim)
        return 0

    def get_coordinate(self) -> tuple[int, ...]:
        """This process's place in the grid."""
        return (0,) * self.ndim

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        """The grid of some dimensions, by name."""
        wanted = (names,) if isinstance(names, str) else tuple(names)
        known = self.mesh_dim_names
        if known is None:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        if not set(wanted) <= set(known):
            raise KeyError(
                f"Invalid mesh_dim_names {wanted} specified. Valid mesh_dim_names are {list(known)}."
            )
        cut = zeros([1] * len(wanted), dtype=dtypes.int32)
        return DeviceMesh(self.device_type, cut, mesh_dim_names=wanted)

    def _key(self) -> tuple[Any, ...]:
        return self.device_type, self.shape, self.mesh_dim_names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceMesh) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __enter__(self) -> DeviceMesh:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def __repr__(self) -> str:
        names = self.mesh_dim_names
        shown = self.shape if names is None else "(" + ", ".join(f"{n}=1" for n in names) + ")"
        return f"DeviceMesh({shown}, {self.device_type!r})"


def init_device_mesh(
    device_type: str,
    mesh_shape: tuple[int, ...],
    *,
    mesh_dim_names: tuple[str, ...] | None = None,
    backend_override: Any = None,
) -> DeviceMesh:
    """A grid of processes of this shape: of one process, so all extents have to be 1."""
    if mesh_dim_names is not None:
        if len(set(mesh_dim_names)) != len(mesh_dim_names):
            raise RuntimeError(
                "Each mesh_dim_name must be unique. Found repeated mesh_dim_name in "
                f"mesh_dim_names {mesh_dim_names}"
            )
        if len(mesh_shape) != len(mesh_dim_names):
            raise RuntimeError(
                "mesh_shape and mesh_dim_names should have same length! Found "
                f"len(mesh_dim_names): {len(mesh_dim_names)} and len(mesh_shape):{len(mesh_shape)}."
            )
    if not device_type.isalpha():
        raise RuntimeError(f"Device type with index is not supported but got {device_type}.")
    if math.prod(mesh_shape) != 1:
        raise RuntimeError(
            "Mesh should not be bigger than default world size 1, but found "
            f"{math.prod(mesh_shape)} ranks!"
        )
    mesh = zeros(list(mesh_shape), dtype=dtypes.int32)
    return DeviceMesh(device_type, mesh, mesh_dim_names=mesh_dim_names)
