"""Observers: modules that watch values go by and choose scales and zero points from what they saw.

PyTorch's torch.ao.quantization.observer. Nothing is read on the host while they watch.
"""

from __future__ import annotations

import functools
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import funtorch as torch
from funtorch import qschemes
from funtorch.dispatch import read
from funtorch.nn.module import Module
from funtorch.tensor import Tensor

EPS = torch.finfo(torch.float32).eps
_UNSIGNED = (torch.quint8, torch.uint8)
_LIMITS = {
    **dict.fromkeys(("qint8", "int8"), (-128, 127)),
    **dict.fromkeys(("quint8", "uint8"), (0, 255)),
    **dict.fromkeys(("qint32", "int32"), (-(2**31), 2**31 - 1)),
    "uint16": (0, 2**16 - 1),
    "int16": (-(2**15), 2**15 - 1),
    **dict.fromkeys(("quint4x2", "float8_e5m2", "float8_e4m3fn"), (0, 15)),
}
"""dtype -> range of its integers where none is asked for."""
_HALVED = {"qint8": (-64, 63), "int8": (-64, 63), "quint8": (0, 127), "uint8": (0, 127)}


class Partial:
    """A class with some of its arguments, to be called for instances; takes further ones."""

    def __init__(self, p: Any) -> None:
        self.p = p
        self.callable_args: dict[str, Callable[[], Any]] = {}

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """An instance."""
        late = {k: made() for k, made in self.callable_args.items() if k not in keywords}
        return self.p(*args, **keywords, **late)

    def __repr__(self) -> str:
        return repr(self.p) + repr(self.callable_args)

    def with_args(self, **kwargs: Any) -> Partial:
        """The same with further arguments."""
        return Partial(functools.partial(self, **kwargs))

    def with_callable_args(self, **kwargs: Callable[[], Any]) -> Partial:
        """The same with arguments that are made anew for each instance."""
        made = Partial(self.p)
        made.callable_args = {**self.callable_args, **kwargs}
        return made


class Made(Module):
    """A module whose class can be given some arguments in advance."""

    @classmethod
    def with_args(cls, **kwargs: Any) -> Partial:
        """The class with these arguments."""
        return Partial(functools.partial(cls, **kwargs))

    @classmethod
    def with_callable_args(cls, **kwargs: Callable[[], Any]) -> Partial:
        """The class with arguments that are made anew for each instance."""
        return Partial(functools.partial(cls)).with_callable_args(**kwargs)


class ObserverBase(Made):
    """What an observer is: forward watches and returns its argument."""

    def __init__(self, dtype: Any, is_dynamic: bool = False) -> None:
        super().__init__()
        self.dtype = dtype
        self.is_dynamic = is_dynamic

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Watch x."""

    @abstractmethod
    def calculate_qparams(self, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """(scale, zero point)."""


def _in_hand(*tensors: Tensor) -> bool:
    """Do their values lie there already?"""
    return all(read(t).array is not None for t in tensors)


def _seen_anything(least: Tensor, most: Tensor) -> bool:
    """Did an observer see values? Where that is not known without waiting, it did."""
    if least.numel() and (not _in_hand(least, most) or bool((least <= most).all())):
        return True
    if least.numel() and not bool((torch.isinf(least) & torch.isinf(most)).all()):
        raise AssertionError(f"min {least} should be less than max {most}")
    warnings.warn(
        "must run observer before calling calculate_qparams. Returning default values.",
        stacklevel=4,
    )
    return False


class UniformQuantizationObserverBase(ObserverBase):
    """Observers of uniform grids.

    quant_min, quant_max: the range of the integers, by default that of dtype; reduce_range: half of it.
    eps: the least scale.
    """

    _version = 3
    SCHEMES: tuple[qschemes.Scheme, ...] = tuple(qschemes.SCHEMES.values())
    DYNAMIC = True

    def __init__(
        self,
        dtype: Any = torch.quint8,
        qscheme: Any = torch.per_tensor_affine,
        reduce_range: bool = False,
        quant_min: int | None = None,
        quant_max: int | None = None,
        factory_kwargs: dict[str, Any] | None = None,
        eps: float = EPS,
        is_dynamic: bool = False,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        if qscheme not in self.SCHEMES:
            raise NotImplementedError(
                f"{name}'s qscheme is one of {list(self.SCHEMES)}, not {qscheme}"
            )
        if is_dynamic and not self.DYNAMIC:
            raise NotImplementedError(f"{name} doesn't support dynamic quantization")
        super().__init__(dtype=dtype, is_dynamic=is_dynamic, **kwargs)
        self.qscheme = qscheme
        self.reduce_range = reduce_range
        if reduce_range:
            warnings.warn(
                "Please use quant_min and quant_max to specify the range for observers. "
                "reduce_range will be deprecated in a future release of PyTorch.",
                stacklevel=2,
            )
        self.factory = {k: v for k, v in (factory_kwargs or {}).items() if v is not None}
        self.register_buffer("eps", torch.tensor([eps], **self.factory))
        if dtype.name not in _LIMITS:
            raise AssertionError(f"Default Observer only works for {list(_LIMITS)} data type")
        if qscheme in qschemes.SYMMETRIC and reduce_range and dtype is torch.quint8:
            raise NotImplementedError("Cannot reduce range for symmetric quantization for quint8")
        self.has_customized_qrange = quant_min is not None and quant_max is not None
        self.quant_min, self.quant_max = self._range(quant_min, quant_max)

    def _range(self, low: Any, high: Any) -> tuple[int, int]:
        if not self.has_customized_qrange:
            name = self.dtype.name
            return (_HALVED if self.reduce_range and name in _HALVED else _LIMITS)[name]
        if not low <= 0 <= high:
            raise AssertionError("Used-specified quantization range must include 0.")
        if low >= high:
            raise AssertionError(
                "qmin must be strictly less than qmax for user-specified quantization range."
            )
        if self.dtype in (torch.qint8, torch.int8) and high - low > 255:
            raise AssertionError(
                "quantization range should not exceed the maximum bit range (=256)."
            )
        return (low // 2, high // 2) if self.reduce_range else (low, high)

    def _calculate_qparams(self, min_val: Tensor, max_val: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, zero point) for values from min_val to max_val. [] or [C] twice -> [1] or [C]"""
        if not _seen_anything(min_val, max_val):
            return torch.tensor([1.0]).to(min_val.device), torch.tensor([0]).to(min_val.device)
        low, high = self.quant_min, self.quant_max
        steps = float(high - low)
        least, most = min_val.clamp(max=0), max_val.clamp(min=0)
        if self.qscheme in qschemes.SYMMETRIC:
            scale = torch.maximum(torch.maximum(-least, most) / (steps / 2), self.eps)
            zero = torch.full_like(scale, self._middle(), dtype=torch.int64)
        elif self.qscheme is torch.per_channel_affine_float_qparams:
            scale = (max_val - min_val) / steps
            scale = torch.where(scale > self.eps, scale, torch.ones_like(scale))
            zero = -1 * min_val / scale
        else:
            scale = torch.maximum((most - least) / steps, self.eps)
            zero = (low - torch.round(least / scale).to(torch.int32)).clamp(low, high)
        return scale.reshape(-1), zero.reshape(-1)

    def _middle(self) -> int:
        """The zero point of symmetric schemes."""
        if self.dtype in _UNSIGNED:
            return (self.quant_min + self.quant_max) // 2 if self.has_customized_qrange else 128
        return 2**15 if self.dtype is torch.uint16 else 0

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        raise NotImplementedError("Cannot reset min/max values in the given observer.")


class MinMaxObserver(UniformQuantizationObserverBase):
    """The least and the largest value seen, over whole tensors."""

    SCHEMES = qschemes.PER_TENSOR

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("min_val", torch.tensor(float("inf"), **self.factory))
        self.register_buffer("max_val", torch.tensor(float("-inf"), **self.factory))

    def forward(self, x_orig: Tensor) -> Tensor:
        """Watch. [...] -> the same"""
        if x_orig.numel():
            least, most = torch.aminmax(x_orig.detach().to(self.min_val.dtype))
            least, most = self._moved(least, most)
            self.min_val.copy_(least)
            self.max_val.copy_(most)
        return x_orig

    def _moved(self, least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
        return torch.minimum(least, self.min_val), torch.maximum(most, self.max_val)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(scale, zero point). -> [1], [1]"""
        return self._calculate_qparams(self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """What was seen."""
        return f"min_val={self.min_val}, max_val={self.max_val}"

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        self.min_val.fill_(float("inf"))
        self.max_val.fill_(float("-inf"))


class _Averaging:
    """Extrema move by a share towards those of each tensor."""

    averaging_constant: float

    def _moved(self: Any, least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
        def moved(now: Tensor, seen: Tensor) -> Tensor:
            first = torch.isinf(self.min_val) & torch.isinf(self.max_val)
            return torch.where(first, seen, now + self.averaging_constant * (seen - now))

        return moved(self.min_val, least), moved(self.max_val, most)


class MovingAverageMinMaxObserver(_Averaging, MinMaxObserver):
    """Moving averages of the least and the largest value, over whole tensors."""

    def __init__(self, averaging_constant: float = 0.01, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("is_dynamic") and averaging_constant != 1:
            raise NotImplementedError(
                "MovingAverageMinMaxObserver doesn't support dynamic quantization for "
                f"averaging constant of {averaging_constant}"
            )
        super().__init__(*args, **kwargs)
        self.averaging_constant = averaging_constant


class PerChannelMinMaxObserver(UniformQuantizationObserverBase):
    """The least and the largest value seen in each channel."""

    SCHEMES = qschemes.PER_CHANNEL
    DYNAMIC = False

    def __init__(
        self,
        ch_axis: int = 0,
        dtype: Any = torch.quint8,
        qscheme: Any = torch.per_channel_affine,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype, qscheme, *args, **kwargs)
        self.ch_axis = ch_axis
        self.register_buffer("min_val", torch.tensor([], **self.factory))
        self.register_buffer("max_val", torch.tensor([], **self.factory))

    def forward(self, x_orig: Tensor) -> Tensor:
        """Watch. [..., C, ...] -> the same"""
        if x_orig.numel():
            rows = x_orig.detach().transpose(0, self.ch_axis).to(self.min_val.dtype).flatten(1)
            least, most = torch.aminmax(rows, dim=1)
            if self.min_val.numel():
                least, most = self._moved(least, most)
            else:
                self.min_val.resize_(least.shape)
                self.max_val.resize_(most.shape)
            self.min_val.copy_(least)
            self.max_val.copy_(most)
        return x_orig

    _moved = MinMaxObserver._moved
    calculate_qparams = MinMaxObserver.calculate_qparams
    extra_repr = MinMaxObserver.extra_repr

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        self.min_val, self.max_val = torch.rand(0), torch.rand(0)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in ("min_val", "max_val"):
            if prefix + name in state_dict:
                getattr(self, name).resize_(state_dict[prefix + name].shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


class MovingAveragePerChannelMinMaxObserver(_Averaging, PerChannelMinMaxObserver):
    """Moving averages of the least and the largest value in each channel."""

    def __init__(self, averaging_constant: float = 0.01, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.averaging_constant = averaging_constant


class FixedQParamsObserver(ObserverBase):
    """A scale and a zero point that are known."""

    def __init__(
        self,
        scale: float,
        zero_point: int,
        dtype: Any = torch.quint8,
        qscheme: Any = torch.per_tensor_affine,
        quant_min: int = 0,
        quant_max: int = 255,
        is_dynamic: bool = False,
        **kwargs: Any,
    ) -> None:
        if is_dynamic:
            raise NotImplementedError("FixedQParamsObserver doesn't support dynamic quantization")
        super().__init__(dtype=dtype, is_dynamic=is_dynamic, **kwargs)
        self.quant_min, self.quant_max, self.qscheme = quant_min, quant_max, qscheme
        self.register_buffer("scale", torch.tensor([scale], dtype=torch.float32))
        self.register_buffer("zero_point", torch.tensor([zero_point], dtype=torch.int32))

    def forward(self, X: Tensor) -> Tensor:
        """X."""
        return X

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(scale, zero point). -> [1], [1]"""
        return self.scale, self.zero_point


class _Blind(ObserverBase):
    """An observer that chooses nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Raises: there is nothing to choose from."""
        raise Exception(f"calculate_qparams should not be called for {type(self).__name__}")


class PlaceholderObserver(_Blind):
    """Only says what is wanted."""

    def __init__(
        self,
        dtype: Any = torch.float32,
        custom_op_name: str = "",
        compute_dtype: Any = None,
        quant_min: int | None = None,
        quant_max: int | None = None,
        qscheme: Any = None,
        eps: float | None = None,
        is_dynamic: bool = False,
    ) -> None:
        super().__init__(dtype=dtype, is_dynamic=is_dynamic or bool(compute_dtype))
        self.qscheme = torch.per_tensor_affine if qscheme is None else qscheme
        self.quant_min, self.quant_max = quant_min, quant_max
        self.eps = EPS if eps is None else eps
        self.custom_op = custom_op_name

    def extra_repr(self) -> str:
        """What is wanted."""
        return f"dtype={self.dtype}, is_dynamic={self.is_dynamic}"


class RecordingObserver(_Blind):
    """Keeps a copy of all that went by, in `tensor_val`."""

    def __init__(self, dtype: Any = torch.quint8) -> None:
        super().__init__(dtype=dtype)
        self.tensor_val: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Keep a copy."""
        self.tensor_val.append(x.clone())
        return x

    def get_tensor_value(self) -> list[Tensor]:
        """What went by."""
        return self.tensor_val


class NoopObserver(_Blind):
    """Does nothing."""

    def __init__(self, dtype: Any = torch.float16, custom_op_name: str = "") -> None:
        super().__init__(dtype=dtype)
        self.custom_op = custom_op_name


class ReuseInputObserver(_Blind):
    """Says that what was chosen for the input holds for the output too."""

    def __init__(self) -> None:
        super().__init__(torch.quint8, is_dynamic=False)


_SIGNED: dict[str, Any] = {"dtype": torch.qint8, "qscheme": torch.per_tensor_symmetric}
_ROWS: dict[str, Any] = {"dtype": torch.qint8, "qscheme": torch.per_channel_symmetric}
_WITHOUT_128: dict[str, Any] = {"quant_min": -127, "quant_max": 127, "eps": 2**-12}
_BYTE: dict[str, Any] = {"dtype": torch.quint8, "quant_min": 0, "quant_max": 255}

default_observer = MinMaxObserver.with_args(quant_min=0, quant_max=127)
default_placeholder_observer = PlaceholderObserver
default_debug_observer = RecordingObserver
default_weight_observer = MinMaxObserver.with_args(**_SIGNED)
weight_observer_range_neg_127_to_127 = MinMaxObserver.with_args(**_SIGNED, **_WITHOUT_128)
default_per_channel_weight_observer = PerChannelMinMaxObserver.with_args(**_ROWS)
per_channel_weight_observer_range_neg_127_to_127 = PerChannelMinMaxObserver.with_args(
    **_ROWS, **_WITHOUT_128
)
default_dynamic_quant_observer = PlaceholderObserver.with_args(**_BYTE, is_dynamic=True)
default_float_qparams_observer = PerChannelMinMaxObserver.with_args(
    dtype=torch.quint8, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0
)
default_float_qparams_observer_4bit = default_float_qparams_observer.with_args(dtype=torch.quint4x2)
default_fixed_qparams_range_neg1to1_observer = FixedQParamsObserver.with_args(
    scale=2.0 / 256.0, zero_point=128, **_BYTE
)
default_fixed_qparams_range_0to1_observer = FixedQParamsObserver.with_args(
    scale=1.0 / 256.0, zero_point=0, **_BYTE
)
default_symmetric_fixed_qparams_observer = default_fixed_qparams_range_neg1to1_observer
default_affine_fixed_qparams_observer = default_fixed_qparams_range_0to1_observer
default_reuse_input_observer = ReuseInputObserver


def get_observer_state_dict(mod: Module) -> dict[str, Tensor]:
    """The part of a module's state that observers hold."""
    return {k: v for k, v in mod.state_dict().items() if "activation_post_process" in k}


def load_observer_state_dict(mod: Module, obs_dict: dict[str, Tensor]) -> None:
    """Put such a part back. Raises KeyError for entries that the module does not have."""
    unknown = mod.load_state_dict(obs_dict, strict=False).unexpected_keys
    if unknown:
        raise KeyError(f"not observed in this module: {unknown}")
