"""torch.cuda on the GPUs that JAX sees: what programs ask for most."""

from __future__ import annotations

from typing import Any

from funtorch import lowering
from funtorch.device import device, gpu_count, place_of


def is_available() -> bool:
    """Is there a GPU that JAX can use?"""
    return gpu_count() > 0


def device_count() -> int:
    """How many GPUs there are."""
    return gpu_count()


def current_device() -> int:
    """The index of the GPU that 'cuda' means."""
    place_of("cuda")  # raises where there is none
    return 0


def get_device_name(which: Any = None) -> str:
    """The name of a GPU."""
    return str(place_of(_gpu(which)).device_kind)


def _gpu(which: Any) -> device:
    if which is None:
        return device("cuda", 0)
    return device("cuda", which) if isinstance(which, int) else device(which)


def synchronize(which: Any = None) -> None:
    """Wait until everything recorded so far has run."""
    lowering.flush(wait=True)


def _statistic(name: str, which: Any) -> int:
    stats = place_of(_gpu(which)).memory_stats() or {}
    return int(stats.get(name, 0))


def memory_allocated(which: Any = None) -> int:
    """Bytes in use on a GPU."""
    return _statistic("bytes_in_use", which)


def max_memory_allocated(which: Any = None) -> int:
    """The most bytes that were in use on a GPU."""
    return _statistic("peak_bytes_in_use", which)


def empty_cache() -> None:
    """Nothing to do: XLA keeps one pool and gives memory back when the process ends."""
