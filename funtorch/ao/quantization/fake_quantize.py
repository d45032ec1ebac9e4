"""FakeQuantize: an observer, and rounding to the grid that it chose.

PyTorch's torch.ao.quantization.fake_quantize. Whether a module observes and quantises is kept in buffers,
as there; what they say is known in Python without waiting, so each program holds only what is on.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from typing import Any

import funtorch as torch
from funtorch import qschemes
from funtorch.ao.quantization.histogram import HistogramObserver
from funtorch.ao.quantization.observer import (
    FixedQParamsObserver,
    Made,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
)
from funtorch.dispatch import read
from funtorch.lowering.record import owner
from funtorch.nn.module import Module
from funtorch.tensor import Tensor

_SWITCHES = ("fake_quant_enabled", "observer_enabled")
_read: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
"""What buffers say, by their values, which never change."""


class FakeQuantizeBase(Made):
    """What has a switch for observing and one for quantising: buffers of one number."""

    def __init__(self) -> None:
        super().__init__()
        for name in _SWITCHES:
            self.register_buffer(name, torch.tensor([1], dtype=torch.uint8))
        self._last = dict.fromkeys(_SWITCHES, True)

    def is_on(self, name: str) -> bool:
        """What a switch says. Inside a capture, where it has no value, what it said last."""
        value = read(self._buffers[name])
        if value.array is None and owner().capture is not None:
            return self._last[name]
        found = _read.get(value)
        if found is None:
            found = _read[value] = bool(self._buffers[name][0] == 1)
        self._last[name] = found
        return found

    def _switch(self, name: str, on: bool) -> None:
        self._buffers[name][0] = 1 if on else 0
        self._last[name] = bool(on)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Observe and quantise."""

    @abstractmethod
    def calculate_qparams(self, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """(scale, zero point)."""

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Quantise, or not."""
        self._switch("fake_quant_enabled", enabled)

    def disable_fake_quant(self) -> None:
        """Do not quantise."""
        self.enable_fake_quant(False)

    def enable_observer(self, enabled: bool = True) -> None:
        """Observe, or not."""
        self._switch("observer_enabled", enabled)

    def disable_observer(self) -> None:
        """Do not observe."""
        self.enable_observer(False)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        for name in _SWITCHES:
            self.is_on(name)


class FakeQuantize(FakeQuantizeBase):
    """(clamp(round(x / scale) + zero_point, quant_min, quant_max) - zero_point) * scale.

    observer: the class of the observer, which gets all further arguments. Gradients pass through where
    nothing was clamped. scale, zero_point: buffers [1], or [C] for schemes per channel.
    """

    def __init__(
        self,
        observer: Any = MovingAverageMinMaxObserver,
        quant_min: int | None = None,
        quant_max: int | None = None,
        is_dynamic: bool = False,
        **observer_kwargs: Any,
    ) -> None:
        super().__init__()
        if quant_min is not None and quant_max is not None:
            _check_range(observer, quant_min, quant_max, observer_kwargs)
            observer_kwargs.update(quant_min=quant_min, quant_max=quant_max)
        watching = observer(**observer_kwargs, is_dynamic=is_dynamic)
        self.activation_post_process = watching
        self.quant_min, self.quant_max = watching.quant_min, watching.quant_max
        self.is_dynamic, self.dtype, self.qscheme = (
            watching.is_dynamic, watching.dtype, watching.qscheme,
        )  # fmt: skip
        floating = self.qscheme is torch.per_channel_affine_float_qparams
        kind = torch.float32 if floating else torch.int32
        self.register_buffer("scale", torch.tensor([1.0], dtype=torch.float32))
        self.register_buffer("zero_point", torch.tensor([0], dtype=kind))
        self.ch_axis = getattr(watching, "ch_axis", -1)
        if self.qscheme not in qschemes.SCHEMES.values():
            raise AssertionError(
                "Only per channel and per tensor quantization are supported in fake quantize got "
                f"qscheme: {self.qscheme}"
            )
        self.is_per_channel = self.qscheme in qschemes.PER_CHANNEL

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(scale, zero point) that the observer chooses now."""
        return self.activation_post_process.calculate_qparams()  # type: ignore[no-any-return]

    def forward(self, X: Tensor) -> Tensor:
        """[...] -> [...]"""
        if self.is_on("observer_enabled"):
            self.activation_post_process(X.detach())
            for own, new in zip(
                (self.scale, self.zero_point), self.calculate_qparams(), strict=True
            ):
                if own.shape != new.shape:
                    own.resize_(new.shape)
                own.copy_(new)
        return self._quantised(X) if self.is_on("fake_quant_enabled") else X

    def _quantised(self, x: Tensor) -> Tensor:
        low, high = self.activation_post_process.quant_min, self.activation_post_process.quant_max
        if self.is_per_channel:
            return torch.fake_quantize_per_channel_affine(
                x, self.scale, self.zero_point, self.ch_axis, low, high
            )
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, low, high)

    def extra_repr(self) -> str:
        """Switches and what was chosen."""
        watching = self.activation_post_process
        return (
            f"fake_quant_enabled={self.fake_quant_enabled}, observer_enabled={self.observer_enabled}, "
            f"quant_min={watching.quant_min}, quant_max={watching.quant_max}, dtype={self.dtype}, "
            f"qscheme={self.qscheme}, ch_axis={self.ch_axis}, scale={self.scale}, "
            f"zero_point={self.zero_point}"
        )

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in ("scale", "zero_point"):
            if prefix + name in state_dict:
                getattr(self, name).resize_(state_dict[prefix + name].shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _check_range(observer: Any, low: int, high: int, given: dict[str, Any]) -> None:
    if low > high:
        raise AssertionError("quant_min must be less than or equal to quant_max")
    known = getattr(getattr(observer, "p", None), "keywords", {})
    limits = torch.iinfo(known.get("dtype", given.get("dtype", torch.quint8)))
    if limits.min > low:
        raise AssertionError("quant_min out of bound")
    if high > limits.max:
        raise AssertionError("quant_max out of bound")


class FixedQParamsFakeQuantize(FakeQuantize):
    """A FakeQuantize whose scale and zero point are those of a FixedQParamsObserver."""

    def __init__(self, observer: Any) -> None:
        super().__init__(observer=observer)
        if type(self.activation_post_process) is not FixedQParamsObserver:
            raise AssertionError(
                f"{type(self).__name__}'s observer must be a {FixedQParamsObserver.__name__}"
            )
        self._observer_ctr = observer
        self.scale = self.activation_post_process.scale
        self.zero_point = self.activation_post_process.zero_point
        if self.is_per_channel:
            raise AssertionError(
                f"Only per tensor quantization is supported FixedQParamsFakeQuantize module, got "
                f"qscheme:{self.qscheme}"
            )

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(scale, zero point). -> [1], [1]"""
        return self.scale, self.zero_point


class FusedMovingAvgObsFakeQuantize(FakeQuantize):
    """FakeQuantize with a moving average, observing and quantising in one op."""

    def __init__(
        self,
        observer: Any = MovingAverageMinMaxObserver,
        quant_min: int = 0,
        quant_max: int = 255,
        **observer_kwargs: Any,
    ) -> None:
        super().__init__(observer, quant_min, quant_max, **observer_kwargs)
        averaging = (MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver)
        if not isinstance(self.activation_post_process, averaging):
            raise AssertionError(
                "Fused observer+fake_quant module only works with MovingAverageMinMaxObserver"
            )
        for name in _SWITCHES:
            self.register_buffer(name, torch.tensor([1], dtype=torch.int64))
        self.is_symmetric_quant = self.qscheme in qschemes.SYMMETRIC

    def forward(self, X: Tensor) -> Tensor:
        """[...] -> [...]"""
        if not self.is_on("observer_enabled"):
            return self._quantised(X) if self.is_on("fake_quant_enabled") else X
        watching = self.activation_post_process
        return torch.fused_moving_avg_obs_fake_quant(
            X, self.observer_enabled, self.fake_quant_enabled, watching.min_val, watching.max_val,
            self.scale, self.zero_point, watching.averaging_constant, watching.quant_min,
            watching.quant_max, self.ch_axis, self.is_per_channel, self.is_symmetric_quant,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Switches and what was chosen."""
        return f"{super().extra_repr()}, reduce_range={self.activation_post_process.reduce_range}"


_BYTE: dict[str, Any] = {"quant_min": 0, "quant_max": 255, "dtype": torch.quint8}
_SIGNED: dict[str, Any] = {"quant_min": -128, "quant_max": 127, "dtype": torch.qint8}
_WITHOUT_128: dict[str, Any] = {**_SIGNED, "quant_min": -127, "eps": 2**-12}
_TENSOR: dict[str, Any] = {
    "observer": MovingAverageMinMaxObserver,
    "qscheme": torch.per_tensor_symmetric,
}
_ROWS: dict[str, Any] = {
    "observer": MovingAveragePerChannelMinMaxObserver,
    "qscheme": torch.per_channel_symmetric,
}
_FLOATING: dict[str, Any] = {
    "observer": MovingAveragePerChannelMinMaxObserver,
    "qscheme": torch.per_channel_affine_float_qparams,
    "ch_axis": 0,
    "averaging_constant": 1,
}

default_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver,
    qscheme=torch.per_tensor_affine,
    reduce_range=True,
    **_BYTE,
)
default_weight_fake_quant = FakeQuantize.with_args(**_TENSOR, **_SIGNED, reduce_range=False)
default_dynamic_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, is_dynamic=True, averaging_constant=1, **_BYTE
)
default_fixed_qparams_range_neg1to1_fake_quant = FixedQParamsFakeQuantize.with_args(
    observer=default_fixed_qparams_range_neg1to1_observer
)
default_fixed_qparams_range_0to1_fake_quant = FixedQParamsFakeQuantize.with_args(
    observer=default_fixed_qparams_range_0to1_observer
)
default_symmetric_fixed_qparams_fake_quant = default_fixed_qparams_range_neg1to1_fake_quant
default_affine_fixed_qparams_fake_quant = default_fixed_qparams_range_0to1_fake_quant
default_per_channel_weight_fake_quant = FakeQuantize.with_args(
    **_ROWS, **_SIGNED, reduce_range=False, ch_axis=0
)
default_embedding_fake_quant = FakeQuantize.with_args(**_FLOATING, **_BYTE)
default_embedding_fake_quant_4bit = FakeQuantize.with_args(**_FLOATING, dtype=torch.quint4x2)
default_histogram_fake_quant = FakeQuantize.with_args(
    observer=HistogramObserver, qscheme=torch.per_tensor_affine, reduce_range=True, **_BYTE
)
default_fused_act_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, **_BYTE
)
default_fused_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(**_TENSOR, **_SIGNED)
default_fused_per_channel_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    **_ROWS, **_SIGNED
)
fused_wt_fake_quant_range_neg_127_to_127 = FusedMovingAvgObsFakeQuantize.with_args(
    **_TENSOR, **_WITHOUT_128
)
fused_per_channel_wt_fake_quant_range_neg_127_to_127 = FusedMovingAvgObsFakeQuantize.with_args(
    **_ROWS, **_WITHOUT_128
)


def enable_fake_quant(mod: Module) -> None:
    """For `model.apply`: quantise."""
    if isinstance(mod, FakeQuantizeBase):
        mod.enable_fake_quant()


def disable_fake_quant(mod: Module) -> None:
    """For `model.apply`: do not quantise."""
    if isinstance(mod, FakeQuantizeBase):
        mod.disable_fake_quant()


def enable_observer(mod: Module) -> None:
    """For `model.apply`: observe."""
    if isinstance(mod, FakeQuantizeBase):
        mod.enable_observer()


def disable_observer(mod: Module) -> None:
    """For `model.apply`: do not observe."""
    if isinstance(mod, FakeQuantizeBase):
        mod.disable_observer()
