"""View ops in place: `x.unsqueeze_(0)` and its kin change how x looks at its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch.grad_mode import mode
from funtorch.ops import view_ops
from funtorch.ops._declare import composite
from funtorch.tensor import Tensor, as_subclass, copy_window


def _refuse_leaf(tensor: Tensor) -> None:
    if mode.enabled and tensor._requires and tensor._node is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )


def _declare(name: str, facade: Callable[..., Tensor]) -> None:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        _refuse_leaf(self)
        made = facade(self, *args, **kwargs)
        if mode.enabled and self._base_tensor is None:
            # Writes through the new window reach the tape by way of a tensor with the old one.
            self._base_tensor = as_subclass(self, Tensor)
        copy_window(self, made)
        self._node, self._out, self._requires = made._node, made._out, made._requires
        return self

    method.__name__ = f"{name}_"
    method.__doc__ = f"`{name}`, by which the tensor itself changes its sizes and strides."
    composite("method", function=False)(method)


for _name, _facade in {
    "as_strided": view_ops.as_strided,
    "squeeze": view_ops.squeeze,
    "swapaxes": view_ops.transpose,
    "swapdims": view_ops.transpose,
    "t": view_ops.t,
    "transpose": view_ops.transpose,
    "unsqueeze": view_ops.unsqueeze,
}.items():
    _declare(_name, _facade)


@composite("method", function=False)
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Set the main diagonal. wrap: in tall matrices it begins again below. [n, m...] -> itself"""
    size, stride = self.shape, self.stride()
    if len(size) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(size) > 2 and any(extent != size[0] for extent in size):
        raise RuntimeError("all dimensions of input must be of equal length")
    count, step = min(size), sum(stride)
    view_ops.as_strided(self, (count,), (step,), self.storage_offset()).fill_(fill_value)
    if wrap and len(size) == 2 and size[0] > size[1] + 1:
        tall = self[size[1] + 1 :]
        fill_diagonal_(tall, fill_value, wrap=True)
    return self
