"""cuDNN stands below XLA where there is a GPU. The switches are kept; XLA chooses by itself."""

from funtorch.device import gpu_count

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """Is there a GPU, and so a cuDNN below XLA?"""
    return gpu_count() > 0


def version() -> int | None:
    """Not known: XLA does not tell it."""
    return None
