"""Which GPUs there are, and which of them 'cuda' means."""

from __future__ import annotations

from typing import Any, NamedTuple

from funtorch import lowering
from funtorch.cuda.memory import gpu
from funtorch.device import choose_gpu, chosen_gpu, gpu_count, place_of
from funtorch.tensor import Tensor


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
    return str(place_of(gpu(which)).device_kind)


def set_device(device: Any) -> None:
    """Set the GPU that 'cuda' without an index means. A negative index changes nothing."""
    if isinstance(device, int) and device < 0:
        return
    index = gpu(device).index
    choose_gpu(chosen_gpu() if index is None else index)


class device:  # noqa: N801  (PyTorch's name)
    """Another GPU for 'cuda' for a while: `with cuda.device(1): ...`"""

    def __init__(self, device: Any) -> None:
        self.idx = device if isinstance(device, int) else gpu(device).index
        self.prev_idx = -1

    def __enter__(self) -> None:
        if self.idx is not None and self.idx >= 0:
            self.prev_idx = choose_gpu(self.idx)

    def __exit__(self, *exc: object) -> None:
        if self.prev_idx >= 0:
            choose_gpu(self.prev_idx)


class device_of(device):  # noqa: N801  (PyTorch's name)
    """The GPU of a tensor for 'cuda' for a while; on the CPU nothing."""

    def __init__(self, obj: Tensor) -> None:
        super().__init__(obj.get_device())


def synchronize(which: Any = None) -> None:
    """Wait until everything recorded so far has run."""
    lowering.flush(wait=True)


def is_initialized() -> bool:
    """Is a GPU in use?"""
    return is_available()


def get_device_capability(which: Any = None) -> tuple[int, int]:
    """A GPU's compute capability, for example (9, 0)."""
    major, _, minor = str(place_of(gpu(which)).compute_capability).partition(".")
    return int(major), int(minor or 0)


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Does the GPU compute in bfloat16?"""
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


def is_tf32_supported() -> bool:
    """Can the GPU round float32 products to TensorFloat-32?"""
    return is_available() and get_device_capability()[0] >= 8


class DeviceProperties(NamedTuple):
    """What a GPU is: its name, compute capability, bytes of memory and number of multiprocessors."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int


def get_device_properties(device: Any = None) -> DeviceProperties:
    """Facts about a GPU. total_memory: what XLA may use of it."""
    place = place_of(gpu(device))
    limit = (place.memory_stats() or {}).get("bytes_limit", 0)
    return DeviceProperties(
        get_device_name(device), *get_device_capability(device), int(limit), place.core_count
    )


def get_arch_list() -> list[str]:
    """Architectures that were compiled for beforehand: none, XLA compiles for the GPU it finds."""
    return []


def init() -> None:
    """Nothing to do but to raise RuntimeError where there is no GPU."""
    place_of("cuda")
