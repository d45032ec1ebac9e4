"""Process groups: who takes part, and how members reach each other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from funtorch.device import gpu_count
from funtorch.distributed.constants import default_pg_timeout
from funtorch.distributed.exchange import Exchange
from funtorch.distributed.mesh import Mesh, Receipt, Tag, group_number
from funtorch.distributed.reducing import Array
from funtorch.distributed.rendezvous import from_environment, rendezvous
from funtorch.distributed.sockets import seconds
from funtorch.distributed.store import PrefixStore, Store
from funtorch.distributed.work import Work, Worker

_APART = -(1 << 60)


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
    """Some of the program's processes. ranks: theirs in the whole program.

    Collectives are numbered: those with the same number belong together, whichever threads do them.
    """

    def __init__(
        self, backend: str, mesh: Mesh, ranks: Sequence[int], store: Store, name: str, limit: float
    ) -> None:
        self.mesh, self.ranks, self.store = mesh, list(ranks), store
        self.group_name, self.group_desc, self.limit = name, "undefined", limit
        self.number = group_number(name)
        self._backend, self._rank = backend, self.ranks.index(mesh.rank)
        self._serial, self._apart, self._numbering = 0, _APART, threading.Lock()
        self._worker: Worker | None = None

    def rank(self) -> int:
        """This process's place in the group."""
        return self._rank

    def size(self) -> int:
        """How many processes there are."""
        return len(self.ranks)

    def name(self) -> str:
        """The backend's name."""
        return self._backend

    def set_timeout(self, timeout: timedelta) -> None:
        """How long members wait for each other."""
        self.limit = seconds(timeout)

    def exchange(self, what: str, limit: float | None = None, apart: bool = False) -> Exchange:
        """The group's next collective. what: its name, for errors.

        apart: numbered apart from the others, for one that some members may leave out.
        """
        with self._numbering:
            if apart:
                self._apart -= 1
            else:
                self._serial += 1
            serial = self._apart if apart else self._serial
        wait = self.limit if limit is None else limit
        return Exchange(self.mesh, self.ranks, self.number, serial, what, wait)

    def do(
        self, asynchronous: bool, call: Callable[[], Any], finish: Callable[[], Any], made: Any
    ) -> Work | None:
        """Run a collective: here, or in the group's thread; then `finish` here."""
        if not asynchronous:
            call()
            finish()
            return None
        work = Work(made)
        if self.size() == 1:
            work.run(call, finish)
            return work
        if self._worker is None:
            self._worker = Worker(f"funtorch-group-{self.group_name}")
        self._worker.submit(lambda: work.run(call, finish))
        return work

    def _tag(self, tag: int) -> Tag:
        return Tag(self.number, -1 - tag, 0)

    def send_to(self, to: int, tag: int, array: Array) -> None:
        """A message to a member, that is not part of a collective."""
        self.mesh.send("send", self.ranks[to], self._tag(tag), array)

    def post_from(self, source: int | None, tag: int, target: Array | None) -> Receipt:
        """Be ready for one."""
        return self.mesh.post(
            None if source is None else self.ranks[source], self._tag(tag), target
        )

    def end(self) -> None:
        """No more collectives."""
        if self._worker is not None:
            self._worker.end()


class _WorldMeta(type):
    _world: ClassVar[list[ProcessGroup | None]] = [None]

    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The group of all processes; None before `init_process_group`."""
        return cls._world[0]

    @WORLD.setter
    def WORLD(cls, group: ProcessGroup | None) -> None:
        cls._world[0] = group


class group(metaclass=_WorldMeta):  # noqa: N801  (PyTorch's name)
    """`group.WORLD` is the default group."""


class GroupMember(metaclass=_WorldMeta):
    """`WORLD`, and the group that stands for not being a member."""

    NON_GROUP_MEMBER = -100


def is_available() -> bool:
    """Can process groups be made? Yes."""
    return True


def is_gloo_available() -> bool:
    """Gloo's place is taken by sockets between the processes."""
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


_made = [0]
"""How many groups this process has helped to make: processes agree on it, so on names too."""


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: timedelta | None = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Make the default group; rank and size come from the arguments or the environment.

    Processes find each other by a store, or by `init_method`: env://, tcp://host:port, file:///path.
    Raises DistStoreError or DistBackendError if they do not all come within the timeout.
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None and init_method is not None:
        raise AssertionError("Cannot specify both init_method and store.")
    if store is None and (init_method is None or init_method.startswith("env://")):
        rank, world_size = from_environment(rank, world_size)
    if store is not None and (world_size < 1 or rank < 0):
        raise ValueError("world_size and rank must be given with a store")
    name, limit = _known(backend), timeout or default_pg_timeout
    if store is None and world_size != 1:
        store, rank, world_size = next(rendezvous(init_method or "env://", rank, world_size, limit))
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not within 0 and world_size - 1 = {world_size - 1}")
    _made[0] += 1
    kept = PrefixStore(f"default_pg/{_made[0]}", store) if store is not None else None
    mesh = Mesh(kept, rank, world_size, seconds(limit))
    group.WORLD = ProcessGroup(name, mesh, range(world_size), kept, "0", seconds(limit))


def _known(backend: str | None) -> str:
    if backend is None:
        return "undefined"
    names = {part.partition(":")[2] or part for part in backend.lower().split(",")}
    for name in names:
        if name not in ("gloo", "nccl", "mpi", "ucc"):
            raise AssertionError(f"Unknown backend type {backend}")
        if name in ("mpi", "ucc") or (name == "nccl" and not is_nccl_available()):
            raise RuntimeError(f"Distributed package doesn't have {name.upper()} built in")
    return backend.lower()


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Forget the group; None: the default one, and with it all."""
    world = _world()
    if world is None and group is None:
        raise AssertionError("Process group cannot be None")
    if group is None or group is world:
        assert world is not None
        world.end()
        world.mesh.close()
        _forget_world()
    elif isinstance(group, ProcessGroup):
        group.end()


def _world() -> ProcessGroup | None:
    return group.WORLD


def _forget_world() -> None:
    group.WORLD = None


def new_group(
    ranks: Sequence[int] | None = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: Any = None,
    device_id: Any = None,
    sort_ranks: bool = True,
) -> Any:
    """A further group of the processes with these ranks. All processes have to call it alike.

    With `use_local_synchronization` only its members do.
    """
    world = member_of(None)
    wanted = list(range(world.size()) if ranks is None else ranks)
    for rank in wanted:
        if not 0 <= rank < world.size():
            raise ValueError(
                f"Rank {rank} is out of range. Valid ranks are 0 to {world.size() - 1} "
                f"(world_size={world.size()})"
            )
    if len(set(wanted)) != len(wanted):
        raise ValueError("the new group's ranks should not contain duplicates")
    if sort_ranks:
        wanted.sort()
    if use_local_synchronization:
        name = ",".join(map(str, wanted))
    else:
        _made[0] += 1
        name = str(_made[0])
    if world.rank() not in wanted:
        return GroupMember.NON_GROUP_MEMBER
    kind = world.name() if backend is None else _known(backend)
    limit = world.limit if timeout is None else seconds(timeout)
    store = PrefixStore(name, world.store) if world.store is not None else None
    made = ProcessGroup(kind, world.mesh, wanted, store, name, limit)
    made.group_desc = group_desc or "undefined"
    return made


def new_subgroups(
    group_size: int | None = None,
    group: Any = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    group_desc: Any = None,
) -> tuple[Any, list[Any]]:
    """Groups of so many neighbours: (the one that this process is in, all)."""
    world = member_of(group)
    size = world.size() if group_size is None else group_size
    if size < 1 or world.size() % size:
        raise ValueError(
            f"The world size ({world.size()}) must be divisible by 'group_size={size}'"
        )
    starts = range(0, world.size(), size)
    lists = [[world.ranks[i] for i in range(start, start + size)] for start in starts]
    return new_subgroups_by_enumeration(lists, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]],
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options: Any = None,
    group_desc: Any = None,
) -> tuple[Any, list[Any]]:
    """Groups of these ranks, none of them in two: (the one that this process is in, all)."""
    listed = [rank for ranks in ranks_per_subgroup_list for rank in ranks]
    if len(set(listed)) != len(listed):
        raise ValueError("a rank is in more than one of ranks_per_subgroup_list")
    made = [new_group(ranks, timeout, backend) for ranks in ranks_per_subgroup_list]
    own = next((g for g in made if g != GroupMember.NON_GROUP_MEMBER), None)
    return own, made


def _outside(group: Any) -> bool:
    return bool(group == GroupMember.NON_GROUP_MEMBER)


def get_rank(group: Any = None) -> int:
    """This process's place in the group; -1 if it is no member."""
    return -1 if _outside(group) else member_of(group).rank()


def get_world_size(group: Any = None) -> int:
    """How many processes the group has; -1 if this one is no member."""
    return -1 if _outside(group) else member_of(group).size()


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """This process's place among those of its machine, as the launcher said."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is None:
        raise RuntimeError("LOCAL_RANK is not in the environment. Consider passing fallback_rank.")
    return int(fallback_rank)


def get_backend(group: Any = None) -> Backend:
    """The backend that was asked for."""
    if _outside(group):
        raise ValueError("Invalid process group specified")
    return Backend(member_of(group).name())


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The rank in the default group of a member of another one."""
    if group is _world():
        return group_rank
    ranks = member_of(group).ranks
    if not 0 <= group_rank < len(ranks):
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return ranks[group_rank]


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The rank in a group of the process with this rank in the default group."""
    if group is _world():
        return global_rank
    ranks = member_of(group).ranks
    if global_rank not in ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return ranks.index(global_rank)


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The ranks in the default group of a group's members."""
    return list(member_of(group).ranks)
