"""torch.utils.hooks."""

from funtorch.tape import Handle as RemovableHandle

__all__ = ["RemovableHandle"]
