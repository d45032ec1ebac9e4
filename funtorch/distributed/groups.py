"""Process groups: who takes part. Here that is always this process alone."""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from typing import Any

from funtorch.device import gpu_count


class ReduceOp(enum.Enum):
    """How elements of several processes become one."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


ReduceOp.RedOpType = ReduceOp  # type: ignore[attr-defined]


class Backend(str):
    """The name of a library that would carry messages, in lower case."""

    UNDEFINED = "undefined"
    GLOO = "gloo"
    NCCL = "nccl"
    MPI = "mpi"
    UCC = "ucc"

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return super().__new__(cls, name.lower())


class ProcessGroup:
    """A group whose one member is this process."""

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def rank(self) -> int:
        """This process's place in the group."""
        return 0

    def size(self) -> int:
        """How many processes there are."""
        return 1

    def name(self) -> str:
        """The backend's name."""
        return self._backend


class Work:
    """What a collective with `async_op=True` returns. With one process there is nothing to wait for."""

    def wait(self, timeout: Any = None) -> bool:
        """Done."""
        return True

    def is_completed(self) -> bool:
        """Yes."""
        return True

    def is_success(self) -> bool:
        """Yes."""
        return True


class GroupMember:
    """The group that stands for not being a member."""

    NON_GROUP_MEMBER = -100


class _WorldMeta(type):
    _world: ProcessGroup | None = None

    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The group of all processes; None before `init_process_group`."""
        return cls._world

    @WORLD.setter
    def WORLD(cls, group: ProcessGroup | None) -> None:
        cls._world = group


class group(metaclass=_WorldMeta):  # noqa: N801  (PyTorch's name)
    """`group.WORLD` is the default group."""


def is_available() -> bool:
    """Can process groups be made? Yes, of one process."""
    return True


def is_gloo_available() -> bool:
    """Gloo's place is taken by this process itself."""
    return True


def is_nccl_available() -> bool:
    """Is there a GPU, whose programs ask for NCCL?"""
    return gpu_count() > 0


def is_mpi_available() -> bool:
    """Never."""
    return False


def is_torchelastic_launched() -> bool:
    """Was this process started by torchrun?"""
    return os.environ.get("TORCHELASTIC_RUN_ID") is not None


def is_initialized() -> bool:
    """Is there a default group?"""
    return group.WORLD is not None


def member_of(wanted: Any) -> ProcessGroup:
    """The group that an argument `group=` means. Raises ValueError if there is none yet."""
    found = group.WORLD if wanted is None else wanted
    if found is None:
        raise ValueError(
            "Default process group has not been initialized, please make sure to call "
            "init_process_group."
        )
    return found


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: Any = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Make the default group; rank and size come from the arguments or the environment.

    Raises NotImplementedError for more than one process.
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    if store is None and (init_method is None or init_method.startswith("env://")):
        rank, world_size = _from_environment(rank, world_size)
    if world_size < 1 or rank < 0:
        raise ValueError("world_size and rank must be given unless they are in the environment")
    name = _known(backend)
    if world_size != 1:
        raise NotImplementedError(
            f"torch.distributed with {world_size} processes: funtorch has groups of one process "
            "only; start the program with one"
        )
    group.WORLD = ProcessGroup(name)


def _known(backend: str | None) -> str:
    if backend is None:
        return "undefined"
    names = {part.partition(":")[2] or part for part in backend.lower().split(",")}
    for name in names:
        if name not in ("gloo", "nccl", "mpi", "ucc"):
            raise AssertionError(f"Unknown backend type {backend}")
        if name == "mpi" or (name == "nccl" and not is_nccl_available()):
            raise RuntimeError(f"Distributed package doesn't have {name.upper()} built in")
    return backend.lower()


def _from_environment(rank: int, world_size: int) -> tuple[int, int]:
    def read(name: str) -> str:
        if name not in os.environ:
            raise ValueError(
                "Error initializing torch.distributed using env:// rendezvous: environment "
                f"variable {name} expected, but not set"
            )
        return os.environ[name]

    rank = int(read("RANK")) if rank < 0 else rank
    world_size = int(read("WORLD_SIZE")) if world_size < 0 else world_size
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        read(name)
    return rank, world_size


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Forget the group; None: the default one, and with it all."""
    world = _world()
    if world is None and group is None:
        raise AssertionError("Process group cannot be None")
    if group is None or group is world:
        _forget_world()


def _world() -> ProcessGroup | None:
    return group.WORLD


def _forget_world() -> None:
    group.WORLD = None


def new_group(
    ranks: Sequence[int] | None = None,
    timeout: Any = None,
    backend: str | None = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: Any = None,
    device_id: Any = None,
    sort_ranks: bool = True,
) -> Any:
    """A further group of the processes with these ranks."""
    world = member_of(None)
    for rank in ranks or ():
        if rank != 0:
            raise ValueError(f"Rank {rank} is out of range. Valid ranks are 0 to 0 (world_size=1)")
    if ranks is not None and not ranks:
        return GroupMember.NON_GROUP_MEMBER
    return ProcessGroup(world.name() if backend is None else _known(backend))


def get_rank(group: Any = None) -> int:
    """This process's place in the group; -1 if it is no member."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else member_of(group).rank()


def get_world_size(group: Any = None) -> int:
    """How many processes the group has; -1 if this one is no member."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else member_of(group).size()


def get_backend(group: Any = None) -> Backend:
    """The backend that was asked for."""
    return Backend(member_of(group).name())


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The rank in the default group of a member of another one."""
    if group_rank != 0:
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return member_of(group).rank()


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The rank in a group of the process with this rank in the default group."""
    if global_rank != 0:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return member_of(group).rank()


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The ranks in the default group of a group's members."""
    member_of(group)
    return [0]
