"""torch.signal: window functions."""

from funtorch.signal import windows

__all__ = ["windows"]
