"""torch.utils."""

from funtorch.utils import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]
