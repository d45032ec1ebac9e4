"""torch.accelerator: whichever accelerator there is. Here that is a GPU, or none."""

from __future__ import annotations

from typing import Any

from funtorch import cuda
from funtorch.device import device as _device
from funtorch.device import gpu_count

__all__ = [
    "current_accelerator",
    "current_device_idx",
    "current_device_index",
    "current_stream",
    "device_count",
    "device_index",
    "empty_cache",
    "get_memory_info",
    "is_available",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_peak_memory_stats",
    "set_device_idx",
    "set_device_index",
    "set_stream",
    "synchronize",
]


def is_available() -> bool:
    """Is there a GPU that JAX can use?"""
    return gpu_count() > 0


def device_count() -> int:
    """How many there are."""
    return gpu_count()


def current_accelerator(check_available: bool = False) -> _device | None:
    """`device('cuda')`, or None without a GPU."""
    return _device("cuda") if gpu_count() else None


def _on_gpu(name: str) -> Any:
    found = getattr(cuda, name)

    def call(*args: Any, **options: Any) -> Any:
        if not gpu_count():
            raise RuntimeError("Cannot access accelerator device when none is available.")
        return found(*args, **options)

    call.__name__, call.__doc__ = name, found.__doc__
    return call


current_device_index = current_device_idx = _on_gpu("current_device")
set_device_index = set_device_idx = _on_gpu("set_device")
current_stream, set_stream = _on_gpu("current_stream"), _on_gpu("set_stream")
synchronize, empty_cache = _on_gpu("synchronize"), _on_gpu("empty_cache")
get_memory_info, memory_stats = _on_gpu("mem_get_info"), _on_gpu("memory_stats")
memory_allocated, memory_reserved = _on_gpu("memory_allocated"), _on_gpu("memory_reserved")
max_memory_allocated = _on_gpu("max_memory_allocated")
max_memory_reserved = _on_gpu("max_memory_reserved")
reset_peak_memory_stats = _on_gpu("reset_peak_memory_stats")


class device_index(cuda.device):  # noqa: N801  (PyTorch's name)
    """Another GPU for a while; None: none other."""

    def __init__(self, device: int | None, /) -> None:
        super().__init__(-1 if device is None else device)
        if device is not None and not gpu_count():
            raise RuntimeError("Cannot access accelerator device when none is available.")
