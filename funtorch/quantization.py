"""torch.quantization: torch.ao.quantization under its older name."""

import sys

from funtorch.ao import quantization

sys.modules[__name__] = quantization
