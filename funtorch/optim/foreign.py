"""What optimisers outside PyTorch import from `torch.optim.optimizer`: helpers of its own ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from funtorch.grad_mode import set_grad_enabled
from funtorch.tensor import Tensor, dtype_of

ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


def _use_grad_for_differentiable(func: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of `step`: taped if the optimiser was made with differentiable=True."""

    @functools.wraps(func)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with set_grad_enabled(self.defaults["differentiable"]):
            return func(self, *args, **kwargs)

    return step


def _default_to_fused_or_foreach(
    params: list[Tensor], differentiable: bool, use_fused: bool = False
) -> tuple[bool, bool]:
    """(fused, foreach): the quickest way here is one tensor after the other, in one program."""
    return False, False


def _get_value(x: Any) -> Any:
    """The number in a tensor."""
    return x.item() if isinstance(x, Tensor) else x


def _get_capturable_supported_devices(supports_xla: bool = True) -> list[str]:
    """Where a step may keep its count as a tensor."""
    return ["cuda", "xpu", "hpu", *(["xla"] if supports_xla else [])]


def _group_tensors_by_device_and_dtype(
    tensorlistlist: list[list[Any]], with_indices: bool = False
) -> dict[tuple[Any, Any], tuple[list[list[Any]], list[int]]]:
    """{(device, dtype of the first list's tensors): (the lists' parts, their places)}"""
    groups: dict[tuple[Any, Any], tuple[list[list[Any]], list[int]]] = {}
    for place, first in enumerate(tensorlistlist[0]):
        parts, places = groups.setdefault(
            (first.device, dtype_of(first)), ([[] for _ in tensorlistlist], [])
        )
        for part, tensors in zip(parts, tensorlistlist, strict=True):
            part.extend(tensors[place : place + 1])
        if with_indices:
            places.append(place)
    return groups
