"""Where quantisation begins and ends in a model. PyTorch's torch.ao.quantization.stubs."""

from __future__ import annotations

from typing import Any

from funtorch.nn.module import Module
from funtorch.tensor import Tensor


class _Stub(Module):
    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


class QuantStub(_Stub):
    """Stands where inputs are quantised: `prepare` puts an observer behind it. [...] -> [...]"""


class DeQuantStub(_Stub):
    """Stands where quantisation ends. [...] -> [...]"""


class QuantWrapper(Module):
    """A module between a QuantStub and a DeQuantStub."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        qconfig = getattr(module, "qconfig", None)
        self.add_module("quant", QuantStub(qconfig))
        self.add_module("dequant", DeQuantStub(qconfig))
        self.add_module("module", module)
        self.train(module.training)

    def forward(self, X: Tensor) -> Tensor:
        """The module's output."""
        return self.dequant(self.module(self.quant(X)))  # type: ignore[no-any-return]
