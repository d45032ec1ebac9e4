"""torch.distributed.rpc, as builds of PyTorch without it have it: the question alone."""

__all__ = ["is_available"]


def is_available() -> bool:
    """Can processes call each other's functions? No."""
    return False
