"""Modules from here in flax's nnx, and nnx modules here. Linen comes through nnx's own bridge.

    net = funtorch.flax.to_nnx(torch.nn.Linear(4, 2))     # an nnx.Module
    net = funtorch.flax.from_nnx(nnx.Linear(4, 2, rngs=nnx.Rngs(0)))   # a torch.nn.Module

Flax is imported with this package, which nothing else imports.
"""

from funtorch.flax.modules import FromNnx, ToNnx, from_nnx, to_nnx

__all__ = ["FromNnx", "ToNnx", "from_nnx", "to_nnx"]
