"""Modules without initial values, and convolution weights in another memory format."""

from __future__ import annotations

import inspect
from typing import Any

from funtorch.nn.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from funtorch.nn.module import Module


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """Make a module whose parameters have no values yet. Its constructor has to take `device`."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = kwargs.pop("device", "cpu")
    return module_cls(*args, **kwargs, device="meta").to_empty(device=device)


def _in_format(module: Module, kinds: tuple[type[Module], ...], memory_format: Any) -> Module:
    for part in module.modules():
        if isinstance(part, kinds):
            part.weight.data = part.weight.detach().clone(memory_format=memory_format)
    return module


def convert_conv2d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """Lay out the weights of all two-dimensional convolutions, transposed ones too."""
    return _in_format(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """Lay out the weights of all three-dimensional convolutions, transposed ones too."""
    return _in_format(module, (Conv3d, ConvTranspose3d), memory_format)
