"""torch.autograd.graph: the tape's nodes, and hooks on several of them at once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from funtorch import saving
from funtorch.autograd.engine import Task, running
from funtorch.saving import Pack, Unpack
from funtorch.tape import Handle, Node, gradient_edge
from funtorch.tensor import Tensor

__all__ = [
    "GradientEdge",
    "Node",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


class GradientEdge(NamedTuple):
    """Where a gradient goes: a node, and which of the forward op's outputs it belongs to."""

    node: Node
    output_nr: int


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of a tensor goes. Raises RuntimeError if it requires none."""
    edge = gradient_edge(tensor)
    if edge is None:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require "
            "gradients"
        )
    return GradientEdge(*edge)


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Count a write in place, so that a gradient which needs the old contents raises."""
    for one in (tensor,) if isinstance(tensor, Tensor) else tensor:
        one._storage.version += 1


class saved_tensors_hooks:  # noqa: N801  (PyTorch's name)
    """While open, what the tape saves is kept as `pack_hook(tensor)` and used as `unpack_hook` of it.

    An op's node saves those of its inputs that its gradient needs. Of nested pairs the innermost counts.
    """

    def __init__(self, pack_hook: Pack, unpack_hook: Unpack) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if saving.barred:
            raise RuntimeError(saving.barred[-1])
        saving.hooks.append((self.pack_hook, self.unpack_hook))

    def __exit__(self, *exc: object) -> None:
        saving.hooks.pop()


class save_on_cpu(saved_tensors_hooks):  # noqa: N801  (PyTorch's name)
    """While open, what the tape saves waits in the host's memory until the backward pass.

    pin_memory is taken and changes nothing: XLA copies without it.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(
            lambda tensor: (tensor.device, tensor.cpu()), lambda kept: kept[1].to(kept[0])
        )


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """While open, opening a pair of hooks raises RuntimeError with this message."""
    saving.barred.append(error_message)
    try:
        yield
    finally:
        saving.barred.pop()


class _Handles:
    """`remove()` for several hooks."""

    def __init__(self, handles: Sequence[Handle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Remove all of them."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class _Arrivals:
    """What has arrived of several gradients in one backward pass."""

    def __init__(self, task: Task, nodes: Sequence[Node]) -> None:
        self.task = task
        self.expected = sum(task.reaches(node) for node in nodes)
        self.grads: list[Tensor | None] = [None] * len(nodes)
        self.count = 0


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all"
) -> _Handles:
    """Call a function when the gradients of several tensors are there.

    mode: 'all' calls `fn([gradients])` once all arrived that a backward pass reaches (None for the
    others), 'any' calls `fn(gradient)` for the first.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    nodes = [get_gradient_edge(tensor).node for tensor in tensors]
    passes: list[_Arrivals] = []

    def collect(index: int, grad: Tensor) -> None:
        task = running[-1]
        if not passes or passes[0].task is not task:
            passes[:] = [_Arrivals(task, nodes)]
        now = passes[0]
        now.grads[index] = grad
        now.count += 1
        if mode == "any" and now.count == 1:
            fn(grad)
        elif mode == "all" and now.count == now.expected:
            fn(now.grads)

    hooks = [functools.partial(collect, i) for i in range(len(tensors))]
    return _Handles([t.register_hook(h) for t, h in zip(tensors, hooks, strict=True)])
