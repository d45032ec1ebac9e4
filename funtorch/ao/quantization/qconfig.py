"""QConfig: which observers or FakeQuantizes a module gets. PyTorch's torch.ao.quantization.qconfig."""

from __future__ import annotations

from typing import Any, NamedTuple

import funtorch as torch
from funtorch.ao.quantization import fake_quantize as fakes
from funtorch.ao.quantization import observer as observers
from funtorch.ao.quantization.fake_quantize import FakeQuantize, FusedMovingAvgObsFakeQuantize
from funtorch.ao.quantization.histogram import HistogramObserver
from funtorch.nn.module import Module


class _Pair(NamedTuple):
    activation: Any
    weight: Any


class QConfig(_Pair):
    """Classes (or what makes instances) for activations and for weights."""

    __slots__ = ()

    def __new__(cls, activation: Any, weight: Any) -> QConfig:
        """Raises ValueError for instances."""
        if isinstance(activation, Module) or isinstance(weight, Module):
            raise ValueError(
                "QConfig received observer instance, please pass observer class instead. "
                "Use MyObserver.with_args(x=1) to override arguments to constructor if needed"
            )
        return super().__new__(cls, activation, weight)


_half = observers.PlaceholderObserver.with_args(dtype=torch.float16)

default_qconfig = QConfig(observers.default_observer, observers.default_weight_observer)
default_debug_qconfig = QConfig(observers.default_debug_observer, observers.default_weight_observer)
default_per_channel_qconfig = QConfig(
    observers.default_observer, observers.default_per_channel_weight_observer
)
default_dynamic_qconfig = QConfig(
    observers.default_dynamic_quant_observer, observers.default_weight_observer
)
per_channel_dynamic_qconfig = QConfig(
    observers.default_dynamic_quant_observer, observers.default_per_channel_weight_observer
)
float16_dynamic_qconfig = QConfig(_half.with_args(is_dynamic=True), _half)
float16_static_qconfig = QConfig(_half, _half)
float_qparams_weight_only_qconfig = QConfig(
    observers.default_placeholder_observer, observers.default_float_qparams_observer
)
float_qparams_weight_only_qconfig_4bit = QConfig(
    observers.default_placeholder_observer, observers.default_float_qparams_observer_4bit
)
default_qat_qconfig = QConfig(fakes.default_fake_quant, fakes.default_weight_fake_quant)
default_dynamic_qat_qconfig = QConfig(
    fakes.default_dynamic_fake_quant, fakes.default_weight_fake_quant
)
default_weight_only_qconfig = QConfig(torch.nn.Identity, fakes.default_weight_fake_quant)
default_activation_only_qconfig = QConfig(fakes.default_fake_quant, torch.nn.Identity)
default_qat_qconfig_v2 = QConfig(
    fakes.default_fused_act_fake_quant, fakes.default_fused_wt_fake_quant
)
default_reuse_input_qconfig = QConfig(
    observers.default_reuse_input_observer, observers.NoopObserver
)
default_embedding_qat_qconfig = QConfig(
    observers.NoopObserver.with_args(dtype=torch.float32), fakes.default_embedding_fake_quant
)
default_embedding_qat_qconfig_4bit = QConfig(
    observers.NoopObserver.with_args(dtype=torch.float32), fakes.default_embedding_fake_quant_4bit
)
_signed_act = FusedMovingAvgObsFakeQuantize.with_args(
    observer=observers.MovingAverageMinMaxObserver, quant_min=-128, quant_max=127,
    dtype=torch.qint8, reduce_range=False, eps=2**-12,
)  # fmt: skip
default_symmetric_qnnpack_qat_qconfig = QConfig(
    _signed_act, fakes.fused_wt_fake_quant_range_neg_127_to_127
)
default_per_channel_symmetric_qnnpack_qat_qconfig = QConfig(
    _signed_act, fakes.fused_per_channel_wt_fake_quant_range_neg_127_to_127
)

_REDUCED = {"x86": {"reduce_range": True}, "fbgemm": {"reduce_range": True},
            "qnnpack": {"reduce_range": False}, "onednn": {}}  # fmt: skip


def _checked(backend: str, version: int, versions: tuple[int, ...]) -> None:
    if backend not in _REDUCED:
        raise AssertionError(
            f"backend: {backend} not supported. backend must be one of {list(_REDUCED)}"
        )
    if version not in versions:
        raise AssertionError(f"Version number: {version} is not supported; it is one of {versions}")


def get_default_qconfig(backend: str = "x86", version: int = 0) -> QConfig:
    """For calibration: a histogram for activations; weights per channel except for qnnpack."""
    _checked(backend, version, (0,))
    rows = backend != "qnnpack"
    return QConfig(
        HistogramObserver.with_args(reduce_range=_REDUCED[backend].get("reduce_range", False)),
        observers.default_per_channel_weight_observer
        if rows
        else observers.default_weight_observer,
    )


def get_default_qat_qconfig(backend: str = "x86", version: int = 1) -> QConfig:
    """For training: version 0 observes and quantises apart, version 1 at once."""
    _checked(backend, version, (0, 1))
    kind = FusedMovingAvgObsFakeQuantize if version else FakeQuantize
    activation = kind.with_args(
        observer=observers.MovingAverageMinMaxObserver, quant_min=0, quant_max=255,
        **_REDUCED[backend],
    )  # fmt: skip
    name = "fused_" if version else ""
    kind_name, weight = ("wt" if version else "weight"), backend == "qnnpack"
    rows = "" if weight else "per_channel_"
    return QConfig(activation, getattr(fakes, f"default_{name}{rows}{kind_name}_fake_quant"))


def activation_is_memoryless(qconfig: Any) -> bool:
    """Does the observer of activations forget (an average with a share of 1)?"""
    made = qconfig.activation()
    return getattr(getattr(made, "activation_post_process", made), "averaging_constant", None) == 1
