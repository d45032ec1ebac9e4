"""torch._custom_ops: `torch.library` under its older names."""

from funtorch.library import impl
from funtorch.library import register_fake as impl_abstract

__all__ = ["impl", "impl_abstract"]
