"""Wrappers that leave a module's class alone, where PyTorch's programs seek them."""

from funtorch.distributed._composable import fsdp

__all__ = ["fsdp"]
