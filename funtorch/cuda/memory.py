"""Memory of GPUs, as JAX reports it. Without a GPU the figures are 0, as in PyTorch."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from funtorch.device import chosen_gpu, device, gpu_count, place_of

_peaks: dict[int, int] = {}
"""Per GPU: XLA's peak when it was reset. XLA's own peak never falls."""


def gpu(which: Any) -> device:
    """The GPU that an argument `device=` means; None: the one that was chosen."""
    if which is None:
        return device("cuda", chosen_gpu())
    return device("cuda", which) if isinstance(which, int) else device(which)


def _figures(which: Any) -> dict[str, int]:
    return (place_of(gpu(which)).memory_stats() or {}) if gpu_count() else {}


def _index(which: Any) -> int:
    index = gpu(which).index
    return chosen_gpu() if index is None else index


def memory_allocated(device: Any = None) -> int:
    """Bytes in use on a GPU."""
    return int(_figures(device).get("bytes_in_use", 0))


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use on a GPU, as far as XLA tells.

    After `reset_peak_memory_stats`: what is in use now, until XLA's own peak rises again.
    """
    peak = int(_figures(device).get("peak_bytes_in_use", 0))
    return memory_allocated(device) if peak == _peaks.get(_index(device)) else peak


def reset_peak_memory_stats(device: Any = None) -> None:
    """Begin to look for a new peak. Raises RuntimeError where there is no GPU."""
    place_of(gpu(device))
    _peaks[_index(device)] = int(_figures(device).get("peak_bytes_in_use", 0))


reset_max_memory_allocated = reset_peak_memory_stats


def memory_reserved(device: Any = None) -> int:
    """Bytes that XLA's pool holds on a GPU."""
    return int(_figures(device).get("pool_bytes", 0))


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that XLA's pool held."""
    return int(_figures(device).get("peak_pool_bytes", memory_reserved(device)))


def memory_stats(device: Any = None) -> OrderedDict[str, int]:
    """All figures, under PyTorch's names where these mean the same."""
    names = {
        "bytes_in_use": "allocated_bytes.all.current",
        "peak_bytes_in_use": "allocated_bytes.all.peak",
        "pool_bytes": "reserved_bytes.all.current",
        "num_allocs": "allocation.all.allocated",
    }
    found = ((names.get(key, key), int(value)) for key, value in _figures(device).items())
    return OrderedDict(sorted(found))


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes free and bytes in all, of what XLA may use on a GPU."""
    place_of(gpu(device))
    limit = int(_figures(device).get("bytes_limit", 0))
    return limit - memory_allocated(device), limit


def empty_cache() -> None:
    """Nothing to do: XLA keeps one pool and gives memory back when the process ends."""


def ipc_collect() -> None:
    """Nothing to do: memory of GPUs is not shared between processes."""
