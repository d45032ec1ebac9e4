"""Switches for matrix products and attention on GPUs. XLA chooses kernels by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from funtorch.device import gpu_count
from funtorch.toplevel import get_float32_matmul_precision, set_float32_matmul_precision


def is_built() -> bool:
    """Is there a GPU that JAX can use?"""
    return gpu_count() > 0


class _Matmul:
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True

    @property
    def allow_tf32(self) -> bool:
        """May float32 products be rounded to TensorFloat-32?"""
        return get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        set_float32_matmul_precision("high" if allowed else "highest")


matmul = _Matmul()

_KERNELS = {"flash": True, "math": True, "mem_efficient": True, "cudnn": True}
"""What programs allowed. It is kept and told; every kernel of attention gives the same values."""


def _switch(kernel: str) -> tuple[Callable[[bool], None], Callable[[], bool]]:
    def enable(enabled: bool) -> None:
        _KERNELS[kernel] = bool(enabled)

    def enabled() -> bool:
        return _KERNELS[kernel]

    enable.__doc__ = f"Allow the {kernel} kernel, or not."
    enabled.__doc__ = f"Was the {kernel} kernel allowed?"
    return enable, enabled


enable_flash_sdp, flash_sdp_enabled = _switch("flash")
enable_math_sdp, math_sdp_enabled = _switch("math")
enable_mem_efficient_sdp, mem_efficient_sdp_enabled = _switch("mem_efficient")
enable_cudnn_sdp, cudnn_sdp_enabled = _switch("cudnn")


def is_flash_attention_available() -> bool:
    """Is there a GPU, for which XLA may use cuDNN's?"""
    return gpu_count() > 0


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True,
    enable_math: bool = True,
    enable_mem_efficient: bool = True,
    enable_cudnn: bool = True,
) -> Iterator[None]:
    """Allow kernels of attention for a while."""
    before = dict(_KERNELS)
    given = (enable_flash, enable_math, enable_mem_efficient, enable_cudnn)
    _KERNELS.update(zip(_KERNELS, map(bool, given), strict=True))
    try:
        yield
    finally:
        _KERNELS.update(before)
