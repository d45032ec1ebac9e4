"""torch.ao: fake quantisation and observers. There are no quantised tensors, so nothing is converted."""

from funtorch.ao import nn, quantization

__all__ = ["nn", "quantization"]
