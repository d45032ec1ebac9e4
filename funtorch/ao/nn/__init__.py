"""torch.ao.nn: layers that quantise their weights while they train."""

from funtorch.ao.nn import qat

__all__ = ["qat"]
