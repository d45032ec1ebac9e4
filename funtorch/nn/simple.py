"""Layers without parameters that call one function: activations, pooling, losses.

Each is a row of a table: its name, the function, and its arguments with defaults, in the order of
PyTorch's constructor. The row makes __init__, forward and the representation.
"""

from __future__ import annotations

import warnings
from typing import Any

from funtorch.nn import functional as F
from funtorch.nn.init import constant_
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.ops.creation import full

REQUIRED = object()


def _bind(
    name: str, fields: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    if len(args) > len(fields):
        raise TypeError(
            f"{name}.__init__() takes {len(fields) + 1} positional arguments but "
            f"{len(args) + 1} were given"
        )
    values = dict(fields)
    values.update(zip(fields, args, strict=False))
    for key, value in kwargs.items():
        if key not in fields:
            raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{key}'")
        values[key] = value
    for key, value in values.items():
        if value is REQUIRED:
            raise TypeError(f"{name}.__init__() missing 1 required positional argument: '{key}'")
    return values


def _layer(name: str, function: str, shown: str = "", **fields: Any) -> type[Module]:
    """A layer that calls nn.functional.<function>(input, **fields).

    shown: the fields of the representation, separated by spaces; a leading = shows only the value.
    """

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        self.__dict__.update(_bind(name, fields, args, kwargs))

    def forward(self: Any, input: Any) -> Any:
        given = {field: getattr(self, field) for field in fields}
        return getattr(F, function)(input, **given)

    def extra_repr(self: Any) -> str:
        return ", ".join(_shown(self, field) for field in shown.split() if _is_shown(self, field))

    return type(
        name,
        (Module,),
        {
            "__init__": __init__,
            "forward": forward,
            "extra_repr": extra_repr,
            "__doc__": f"`nn.functional.{function}` as a layer.",
            "__module__": "funtorch.nn",
        },
    )


def _is_shown(layer: Any, field: str) -> bool:
    return not field.endswith("?") or bool(getattr(layer, field[:-1]))


def _shown(layer: Any, field: str) -> str:
    field = field.rstrip("?")
    if field.startswith("="):
        return str(getattr(layer, field[1:]))
    return f"{field}={getattr(layer, field)}"


ReLU = _layer("ReLU", "relu", "inplace?", inplace=False)
ReLU6 = _layer("ReLU6", "relu6", "inplace?", inplace=False)
Sigmoid = _layer("Sigmoid", "sigmoid")
Tanh = _layer("Tanh", "tanh")
SiLU = _layer("SiLU", "silu", "inplace?", inplace=False)
Mish = _layer("Mish", "mish", "inplace?", inplace=False)
GELU = _layer("GELU", "gelu", approximate="none")
ELU = _layer("ELU", "elu", "alpha inplace?", alpha=1.0, inplace=False)
SELU = _layer("SELU", "selu", "inplace?", inplace=False)
CELU = _layer("CELU", "celu", "alpha inplace?", alpha=1.0, inplace=False)
LeakyReLU = _layer(
    "LeakyReLU", "leaky_relu", "negative_slope inplace?", negative_slope=0.01, inplace=False
)
Hardsigmoid = _layer("Hardsigmoid", "hardsigmoid", inplace=False)
Hardswish = _layer("Hardswish", "hardswish", inplace=False)
Softplus = _layer("Softplus", "softplus", "beta threshold", beta=1.0, threshold=20.0)
Softshrink = _layer("Softshrink", "softshrink", "=lambd", lambd=0.5)
Hardshrink = _layer("Hardshrink", "hardshrink", "=lambd", lambd=0.5)
Tanhshrink = _layer("Tanhshrink", "tanhshrink")
Softsign = _layer("Softsign", "softsign")
LogSigmoid = _layer("LogSigmoid", "logsigmoid")
Threshold = _layer(
    "Threshold",
    "threshold",
    "threshold value inplace?",
    threshold=REQUIRED,
    value=REQUIRED,
    inplace=False,
)
GLU = _layer("GLU", "glu", "dim", dim=-1)
Softmax = _layer("Softmax", "softmax", "dim", dim=None)
LogSoftmax = _layer("LogSoftmax", "log_softmax", "dim", dim=None)
Softmin = _layer("Softmin", "softmin", "dim", dim=None)


def _gelu_repr(self: Any) -> str:
    return f"approximate={self.approximate!r}"


GELU.extra_repr = _gelu_repr  # type: ignore[method-assign]


class Hardtanh(Module):
    """x limited to [min_val, max_val]."""

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        for old, given in (("min_value", min_value), ("max_value", max_value)):
            if given is not None:
                message = f"keyword argument `{old}` is deprecated and rename to `{old[:7]}`"
                warnings.warn(message, FutureWarning, stacklevel=2)
        min_val = min_val if min_value is None else min_value
        max_val = max_val if max_value is None else max_value
        if min_val >= max_val:
            raise AssertionError("max_val must be larger than min_val")
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Any) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val, inplace=self.inplace)

    def extra_repr(self) -> str:
        tail = ", inplace=True" if self.inplace else ""
        return f"min_val={self.min_val}, max_val={self.max_val}{tail}"


class Softmax2d(Module):
    """Softmax over the channels of images. [N, C, H, W]"""

    def forward(self, input: Any) -> Any:
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return F.softmax(input, -3)


class PReLU(Module):
    """x where positive, a learned multiple elsewhere."""

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), init, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """The slope given at the beginning."""
        constant_(self.weight, self.init)

    def forward(self, input: Any) -> Any:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class _MaxPool(Module):
    rank: int

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Any) -> Any:
        pool = getattr(F, f"max_pool{self.rank}d")
        return pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class _AvgPool(Module):
    rank: int

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        one = self.rank == 1
        self.kernel_size = (kernel_size,) if one and isinstance(kernel_size, int) else kernel_size
        step = kernel_size if stride is None else stride
        self.stride = (step,) if one and isinstance(step, int) else step
        self.padding = (padding,) if one and isinstance(padding, int) else padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Any:
        more = {} if self.rank == 1 else {"divisor_override": self.divisor_override}
        return getattr(F, f"avg_pool{self.rank}d")(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            **more,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AdaptivePool(Module):
    function: str

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Any) -> Any:
        more = (self.return_indices,) if "max" in self.function else ()
        return getattr(F, self.function)(input, self.output_size, *more)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


def _ranked(base: type[Module], name: str, rank: int, **fields: Any) -> type[Module]:
    return type(
        f"{name}{rank}d",
        (base,),
        {
            "rank": rank,
            "__module__": "funtorch.nn",
            "__doc__": f"{name} over {rank} dimensions.",
            **fields,
        },
    )


MaxPool1d, MaxPool2d, MaxPool3d = (_ranked(_MaxPool, "MaxPool", n) for n in (1, 2, 3))
AvgPool1d, AvgPool2d, AvgPool3d = (_ranked(_AvgPool, "AvgPool", n) for n in (1, 2, 3))
AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = (
    _ranked(_AdaptivePool, "AdaptiveAvgPool", n, function=f"adaptive_avg_pool{n}d")
    for n in (1, 2, 3)
)
AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = (
    _ranked(_AdaptivePool, "AdaptiveMaxPool", n, function=f"adaptive_max_pool{n}d")
    for n in (1, 2, 3)
)
