"""torch.cpu: the host as a device."""

from typing import Any

from funtorch.cpu import amp

__all__ = ["amp", "current_device", "device_count", "is_available", "synchronize"]


def is_available() -> bool:
    """Always."""
    return True


def device_count() -> int:
    """One: the host."""
    return 1


def current_device() -> str:
    """'cpu'"""
    return "cpu"


def synchronize(device: Any = None) -> None:
    """Nothing to wait for: reading a value waits for it."""
