"""Linear and convolutions whose weight goes through a FakeQuantize on its way."""

from __future__ import annotations

from typing import Any, ClassVar

from funtorch import nn
from funtorch.nn import functional as F
from funtorch.nn.utils.parametrize import type_before_parametrizations
from funtorch.tensor import Tensor


class _Quantised(nn.Module):
    """What the layers share. qconfig.weight makes the FakeQuantize."""

    _FLOAT_MODULE: ClassVar[type[nn.Module]]
    _OPTIONS: ClassVar[tuple[str, ...]]

    def __init__(self, *args: Any, qconfig: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        self.qconfig = qconfig
        where = {"device": kwargs.get("device"), "dtype": kwargs.get("dtype")}
        self.weight_fake_quant = qconfig.weight(factory_kwargs=where)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """The layer with the parameters of a float one, whose `qconfig` it takes."""
        found = type_before_parametrizations(mod)
        if found is not cls._FLOAT_MODULE:
            raise AssertionError(
                f"qat.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__}, got "
                f"{found.__name__}"
            )
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        if not mod.qconfig:
            raise AssertionError("Input float module must have a valid qconfig")
        options = {name: getattr(mod, name) for name in cls._OPTIONS}
        made: Any = cls(**options, bias=mod.bias is not None, qconfig=mod.qconfig)
        made.weight, made.bias = mod.weight, mod.bias
        return made

    def to_float(self) -> nn.Module:
        """A float layer with copies of the parameters."""
        options = {name: getattr(self, name) for name in self._OPTIONS}
        made: Any = self._FLOAT_MODULE(**options, bias=self.bias is not None)
        made.weight = nn.Parameter(self.weight.detach())
        if self.bias is not None:
            made.bias = nn.Parameter(self.bias.detach())
        made.train(self.training)
        return made  # type: ignore[no-any-return]


class Linear(_Quantised, nn.Linear):
    """nn.Linear with a fake-quantised weight. [..., in] -> [..., out]"""

    _FLOAT_MODULE = nn.Linear
    _OPTIONS = ("in_features", "out_features")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        qconfig: Any = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_features, out_features, bias, qconfig=qconfig, device=device, dtype=dtype
        )

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        return F.linear(input, self.weight_fake_quant(self.weight), self.bias)


class _Convolution(_Quantised):
    _OPTIONS = (
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation"),
        *("groups", "padding_mode"),
    )

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        qconfig: Any = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, qconfig=qconfig, device=device, dtype=dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """As the float layer's."""
        return self._conv_forward(input, self.weight_fake_quant(self.weight), self.bias)


class Conv1d(_Convolution, nn.Conv1d):
    """nn.Conv1d with a fake-quantised weight. [N, C, L] -> [N, out, L']"""

    _FLOAT_MODULE = nn.Conv1d


class Conv2d(_Convolution, nn.Conv2d):
    """nn.Conv2d with a fake-quantised weight. [N, C, H, W] -> [N, out, H', W']"""

    _FLOAT_MODULE = nn.Conv2d


class Conv3d(_Convolution, nn.Conv3d):
    """nn.Conv3d with a fake-quantised weight. [N, C, D, H, W] -> [N, out, D', H', W']"""

    _FLOAT_MODULE = nn.Conv3d
