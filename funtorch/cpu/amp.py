"""torch.cpu.amp: the older names of `torch.amp`, for cpu."""

import functools

from funtorch import amp as _amp
from funtorch import dtypes

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]

custom_fwd = functools.partial(_amp.custom_fwd, device_type="cpu")
custom_bwd = functools.partial(_amp.custom_bwd, device_type="cpu")


class autocast(_amp.autocast):  # noqa: N801
    """`torch.amp.autocast('cpu', ...)`."""

    def __init__(
        self,
        enabled: bool = True,
        dtype: dtypes.dtype = dtypes.bfloat16,
        cache_enabled: bool = True,
    ) -> None:
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(_amp.GradScaler):
    """`torch.amp.GradScaler('cpu', ...)`."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        super().__init__("cpu", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
