"""torch.utils."""

from funtorch.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
