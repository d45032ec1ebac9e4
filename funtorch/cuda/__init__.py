"""torch.cuda on the GPUs that JAX sees: what programs ask for most."""

from __future__ import annotations

from typing import Any

from funtorch import lowering
from funtorch.cuda import amp
from funtorch.cuda.streams import (
    Event,
    Stream,
    current_stream,
    default_stream,
    stream,
)
from funtorch.device import choose_gpu, chosen_gpu, gpu_count, place_of
from funtorch.device import device as _device
from funtorch.lowering import OutOfMemoryError
from funtorch.random import manual_seed as _manual_seed
from funtorch.toplevel import tensor_types

__all__ = [
    "Event",
    "OutOfMemoryError",
    "Stream",
    "amp",
    "current_stream",
    "default_stream",
    "stream",
]

globals().update(tensor_types("cuda"))


def is_available() -> bool:
    """Is there a GPU that JAX can use?"""
    return gpu_count() > 0


def device_count() -> int:
    """How many GPUs there are."""
    return gpu_count()


def current_device() -> int:
    """The index of the GPU that 'cuda' means."""
    place_of("cuda")  # raises where there is none
    return chosen_gpu()


def get_device_name(which: Any = None) -> str:
    """The name of a GPU."""
    return str(place_of(_gpu(which)).device_kind)


def _gpu(which: Any) -> _device:
    if which is None:
        return _device("cuda", chosen_gpu())
    return _device("cuda", which) if isinstance(which, int) else _device(which)


def set_device(device: Any) -> None:
    """Set the GPU that 'cuda' without an index means. A negative index changes nothing."""
    if isinstance(device, int) and device < 0:
        return
    index = _gpu(device).index
    choose_gpu(chosen_gpu() if index is None else index)


class device:  # noqa: N801  (PyTorch's name)
    """Another GPU for 'cuda' for a while: `with cuda.device(1): ...`"""

    def __init__(self, device: Any) -> None:
        self.idx = device if isinstance(device, int) else _gpu(device).index
        self.prev_idx = -1

    def __enter__(self) -> None:
        if self.idx is not None and self.idx >= 0:
            self.prev_idx = choose_gpu(self.idx)

    def __exit__(self, *exc: object) -> None:
        if self.prev_idx >= 0:
            choose_gpu(self.prev_idx)


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


def memory_reserved(which: Any = None) -> int:
    """Bytes that XLA's pool holds on a GPU."""
    return _statistic("pool_bytes", which)


def mem_get_info(which: Any = None) -> tuple[int, int]:
    """Bytes free and bytes in all, of what XLA may use on a GPU."""
    limit = _statistic("bytes_limit", which)
    return limit - memory_allocated(which), limit


def is_initialized() -> bool:
    """Is a GPU in use?"""
    return is_available()


def get_device_capability(which: Any = None) -> tuple[int, int]:
    """A GPU's compute capability, for example (9, 0)."""
    major, _, minor = str(place_of(_gpu(which)).compute_capability).partition(".")
    return int(major), int(minor or 0)


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Does the GPU compute in bfloat16?"""
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


def manual_seed(seed: int) -> None:
    """Seed the generator. Without a GPU this does nothing, as in PyTorch."""
    if is_available():
        _manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs."""
    manual_seed(seed)
