"""torch.utils."""

from funtorch.utils import _pytree, checkpoint, data, dlpack, hooks

__all__ = ["checkpoint", "data", "dlpack", "hooks"]
