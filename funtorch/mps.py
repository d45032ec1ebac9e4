"""torch.mps: Apple's GPUs, which are not reached. It answers as a PyTorch built without them."""

from typing import NoReturn


def is_available() -> bool:
    """Never."""
    return False


def device_count() -> int:
    """None."""
    return 0


def manual_seed(seed: int) -> None:
    """There is nothing to seed."""


def empty_cache() -> NoReturn:
    """Raises RuntimeError, as every question about memory or time does."""
    raise RuntimeError("there is no MPS backend")


synchronize = current_allocated_memory = driver_allocated_memory = empty_cache
