"""torch.xpu: Intel's GPUs, which are not reached. It answers as a PyTorch built without them."""

from typing import Any, NoReturn


def is_available() -> bool:
    """Never."""
    return False


is_initialized = is_bf16_supported = is_available


def device_count() -> int:
    """None."""
    return 0


def manual_seed(seed: int) -> None:
    """There is nothing to seed."""


manual_seed_all = manual_seed


def empty_cache() -> None:
    """There is nothing to give back."""


def memory_allocated(device: Any = None) -> int:
    """No bytes."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def current_device() -> NoReturn:
    """Raises AssertionError, as PyTorch does where XPUs were not compiled in."""
    raise AssertionError("Torch not compiled with XPU enabled")


def synchronize(device: Any = None) -> NoReturn:
    """Raises AssertionError."""
    current_device()


get_device_properties = get_device_name = get_device_capability = set_device = synchronize
