"""DataParallel: without GPUs PyTorch's forwards to its module; with GPUs this one uses the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch.device import device, gpu_count
from funtorch.nn.module import Module
from funtorch.tensor import Tensor


class DataParallel(Module):
    """Call `module` on a batch. One program has one device: `device_ids[0]`, or where the module is.

    Raises RuntimeError if the module's parameters are elsewhere.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
    ) -> None:
        super().__init__()
        self.module = module
        if not gpu_count():
            self.device_ids: list[int] = []
            return
        given = range(gpu_count()) if device_ids is None else device_ids
        self.device_ids = [device("cuda", i).index if isinstance(i, int) else i for i in given][:1]
        self.dim = dim
        self.output_device = self.device_ids[0] if output_device is None else output_device
        self.src_device_obj = device("cuda", self.device_ids[0])

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's outputs, on the output device."""
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        where = self.src_device_obj
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            if tensor.device != where:
                raise RuntimeError(
                    "module must have its parameters and buffers on device "
                    f"{where} (device_ids[0]) but found one of them on device: {tensor.device}"
                )
        made = self.module(*moved(inputs, where), **moved(kwargs, where))
        return moved(made, device("cuda", self.output_device))


def moved(held: Any, where: Any) -> Any:
    """Tensors in tuples, lists and dicts on a device."""
    if isinstance(held, Tensor):
        return held.to(where)
    if isinstance(held, tuple) and hasattr(held, "_fields"):
        return type(held)(*(moved(v, where) for v in held))
    if isinstance(held, list | tuple):
        return type(held)(moved(v, where) for v in held)
    if isinstance(held, dict):
        return type(held)((key, moved(v, where)) for key, v in held.items())
    return held


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """`DataParallel` as a function."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    wrapper = DataParallel(module, device_ids, output_device, dim)
    return wrapper(*inputs, **(module_kwargs or {}))
