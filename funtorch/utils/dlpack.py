"""torch.utils.dlpack: arrays between libraries, without a copy where both agree on the memory."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from funtorch.device import device as as_device
from funtorch.lowering import Value, aval_of
from funtorch.lowering.x64 import x64
from funtorch.tensor import Tensor, from_host, wrap

_CPU_CODE = (1, 0)


class _Capsule:
    """A bare DLPack capsule as an object with the protocol's two methods. It lies on the CPU."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU_CODE


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule that holds the tensor's elements."""
    return tensor.__dlpack__()


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor with the elements of another library's array, on a device.

    The memory is shared where it is contiguous, but writes are not: XLA's arrays never change.
    copy: True makes a copy in any case; False raises BufferError if there has to be one.
    """
    made = _imported(ext_tensor)
    if device is not None and made.device != as_device(device):
        if copy is False:
            raise BufferError(f"from_dlpack: moving to {device} is a copy, but copy=False was given")
        return made.to(device)
    return made.clone() if copy else made


def _imported(ext_tensor: Any) -> Tensor:
    if not hasattr(ext_tensor, "__dlpack__"):
        ext_tensor = _Capsule(ext_tensor)
    with x64():
        try:
            array = jax.dlpack.from_dlpack(ext_tensor)
        except (RuntimeError, ValueError):  # strides that XLA does not know: copy
            return from_host(np.from_dlpack(ext_tensor))
    (place,) = array.devices()
    value = Value(aval_of(array.shape, array.dtype, place), array)
    value.pinned = True
    return wrap(value)
