"""torch.distributed.device_mesh: processes in a grid, and the groups along its dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.distributed.groups import (
    ProcessGroup,
    get_rank,
    get_world_size,
    init_process_group,
    is_initialized,
    member_of,
    new_group,
)
from funtorch.ops.from_data import as_tensor
from funtorch.tensor import Tensor

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """Ranks in as many dimensions as wanted. mesh: their numbers.

    Makes the default group if there is none, and one group for each row along each dimension; all
    processes have to make the same grids. Raises RuntimeError if there are not so many processes.
    """

    def __init__(
        self,
        device_type: str,
        mesh: Any,
        *,
        mesh_dim_names: Sequence[str] | None = None,
        _groups: list[ProcessGroup] | None = None,
    ) -> None:
        self.device_type = device_type
        self._ranks = np.asarray(mesh.tolist() if isinstance(mesh, Tensor) else mesh, np.int32)
        self.mesh: Tensor = as_tensor(self._ranks.copy(), dtype=dtypes.int32)
        self.mesh_dim_names = None if mesh_dim_names is None else tuple(mesh_dim_names)
        if not is_initialized():
            init_process_group()
        world = get_world_size()
        if self._ranks.size > world:
            raise RuntimeError(
                f"Mesh should not be bigger than default world size {world}, but found "
                f"{self._ranks.size} ranks!"
            )
        own = np.argwhere(self._ranks == get_rank())
        self._place = tuple(map(int, own[0])) if len(own) else None
        self._groups = self._along_each() if _groups is None else _groups

    def _along_each(self) -> list[ProcessGroup]:
        """This process's group along each dimension."""
        every = list(range(get_world_size()))
        if self._ranks.ndim == 1 and self._ranks.tolist() == every:
            return [member_of(None)]
        found: list[Any] = []
        for dim in range(self._ranks.ndim):
            rows = np.moveaxis(self._ranks, dim, -1).reshape(-1, self._ranks.shape[dim])
            made = [(row.tolist(), new_group(row.tolist())) for row in rows]
            found += [group for row, group in made if get_rank() in row] or [None]
        return found

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self._ranks.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""
        return tuple(self._ranks.shape)

    def size(self, mesh_dim: int | None = None) -> int:
        """Processes in all, or along one dimension."""
        return self._ranks.size if mesh_dim is None else self._ranks.shape[mesh_dim]

    def _dim(self, mesh_dim: int | str | None) -> int:
        if mesh_dim is None and self.ndim > 1:
            raise RuntimeError(
                f"Found the DeviceMesh have {self.ndim} dimensions; mesh_dim needs to be specified"
            )
        if isinstance(mesh_dim, str):
            self._check_names((mesh_dim,))
            assert self.mesh_dim_names is not None
            return self.mesh_dim_names.index(mesh_dim)
        return mesh_dim or 0

    def get_group(self, mesh_dim: int | str | None = None) -> ProcessGroup:
        """The processes along a dimension, which may be left out if there is only one."""
        return self._groups[self._dim(mesh_dim)]

    def get_all_groups(self) -> list[ProcessGroup]:
        """One group for each dimension."""
        return list(self._groups)

    def get_rank(self) -> int:
        """This process."""
        return get_rank()

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This process's place along a dimension."""
        place = self.get_coordinate()
        if place is None:
            raise RuntimeError("this process is not part of the mesh")
        return place[self._dim(mesh_dim)]

    def get_coordinate(self) -> tuple[int, ...] | None:
        """This process's place in the grid; None if it is not part of it."""
        return self._place

    def _check_names(self, wanted: tuple[str, ...]) -> None:
        known = self.mesh_dim_names
        if known is None:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        if not set(wanted) <= set(known):
            raise KeyError(
                f"Invalid mesh_dim_names {wanted} specified. Valid mesh_dim_names are {list(known)}."
            )

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        """The part of the grid in which this process is, with some dimensions only, by name."""
        wanted = (names,) if isinstance(names, str) else tuple(names)
        self._check_names(wanted)
        dims = [self._dim(name) for name in wanted]
        place = self._place or (0,) * self.ndim
        cut = tuple(slice(None) if d in dims else place[d] for d in range(self.ndim))
        order = sorted(dims)
        part = np.transpose(self._ranks[cut], [order.index(d) for d in dims])
        groups = [self._groups[d] for d in dims]
        return DeviceMesh(self.device_type, part, mesh_dim_names=wanted, _groups=groups)

    def _key(self) -> tuple[Any, ...]:
        return self.device_type, self.shape, self._ranks.tobytes(), self.mesh_dim_names

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
        extents = [f"{n}={e}" for n, e in zip(names or (), self.shape)]
        shown = self.shape if names is None else f"({', '.join(extents)})"
        return f"DeviceMesh({shown}, {self.device_type!r})"


def init_device_mesh(
    device_type: str,
    mesh_shape: tuple[int, ...],
    *,
    mesh_dim_names: tuple[str, ...] | None = None,
    backend_override: Any = None,
) -> DeviceMesh:
    """A grid of this shape of the processes in order."""
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
    ranks = np.arange(math.prod(mesh_shape), dtype=np.int32).reshape(mesh_shape)
    return DeviceMesh(device_type, ranks, mesh_dim_names=mesh_dim_names)
