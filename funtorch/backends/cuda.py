"""Switches for matrix products on GPUs."""

from __future__ import annotations

from funtorch.device import gpu_count
from funtorch.toplevel import get_float32_matmul_precision, set_float32_matmul_precision


def is_built() -> bool:
    """Is there a GPU that JAX can use?"""
    return gpu_count() > 0


class _Matmul:
    @property
    def allow_tf32(self) -> bool:
        """May float32 products be rounded to TensorFloat-32?"""
        return get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        set_float32_matmul_precision("high" if allowed else "highest")


matmul = _Matmul()
