"""Apple's GPUs are not reached."""

from typing import NoReturn


def is_available() -> bool:
    """Never."""
    return False


def is_macos_or_newer(major: int, minor: int) -> NoReturn:
    """Raises RuntimeError, as PyTorch built without MPS does."""
    raise RuntimeError("Cannot execute isOnMacOSorNewer() without MPS backend.")


def is_built() -> bool:
    """Never."""
    return False
