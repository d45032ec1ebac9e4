"""A tensor's place on the tape: requires_grad, grad, data, hooks, backward."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from funtorch import autograd
from funtorch.dispatch import read
from funtorch.methods.table import METHODS, attribute, method
from funtorch.tape import AccumulateGrad, Handle, gradient_edge
from funtorch.tensor import Tensor, copy_window, dtype_of, size_of


def _get_requires_grad(self: Tensor) -> bool:
    """Does autograd follow this tensor?"""
    if self._seen != self._storage.version:
        read(self)
    return self._requires


def _set_requires_grad(self: Tensor, value: bool) -> None:
    requires_grad_(self, value)


METHODS["requires_grad"] = property(_get_requires_grad, _set_requires_grad)


@method
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Make a leaf that autograd follows (or not)."""
    if requires_grad and dtype_of(self).category < 2:
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    read(self)
    if self._node is not None:
        if not requires_grad:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        return self
    self._requires = bool(requires_grad)
    return self


@attribute
def is_leaf(self: Tensor) -> bool:
    """Not the result of a taped operation?"""
    read(self)
    return self._node is None


@attribute
def grad_fn(self: Tensor) -> Any:
    """The tape node that made this tensor."""
    if self._seen != self._storage.version:
        read(self)
    return self._node


@attribute
def output_nr(self: Tensor) -> int:
    """Which output of `grad_fn` this is."""
    return self._out


@attribute
def _version(self: Tensor) -> int:
    """How often the storage was written in place."""
    return self._storage.writes_since(0)


@method
def _is_view(self: Tensor) -> bool:
    return self._base_tensor is not None


@attribute
def _base(self: Tensor) -> Tensor | None:
    """The tensor that this is a differentiable view of."""
    return self._base_tensor


def _get_grad(self: Tensor) -> Tensor | None:
    """The accumulated gradient."""
    return self._grad


def _set_grad(self: Tensor, value: Tensor | None) -> None:
    if value is not None:
        if not isinstance(value, Tensor):
            raise TypeError(
                "assigned grad expected to be a Tensor or None but got grad of type "
                f"{value.__class__.__name__}"
            )
        if size_of(value) != size_of(self):
            raise RuntimeError(
                "assigned grad has data of a different size: expected "
                f"{list(size_of(self))}, got {list(size_of(value))}"
            )
        if dtype_of(value) is not dtype_of(self):
            raise RuntimeError(
                f"assigned grad has data of a different type: expected {dtype_of(self)!r}, got "
                f"{dtype_of(value)!r}"
            )
    self._grad = value


METHODS["grad"] = property(_get_grad, _set_grad, lambda self: _set_grad(self, None))


def _get_data(self: Tensor) -> Tensor:
    """The same memory without history, and without a say in version checks."""
    return self.detach()


def _set_data(self: Tensor, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {value.__class__.__name__}")
    read(value)
    copy_window(self, value)
    self._base_tensor = None


METHODS["data"] = property(_get_data, _set_data)


@method
def detach_(self: Tensor) -> Tensor:
    """Forget the history, in place."""
    if self._base_tensor is not None:
        raise RuntimeError("Can't detach views in-place; use detach() instead.")
    self._node, self._out, self._requires = None, 0, False
    return self


@method
def backward(
    self: Tensor,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate gradients into the leaves; see `autograd.backward`."""
    if self._seen != self._storage.version:
        read(self)
    autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


@method
def register_hook(self: Tensor, hook: Callable[..., Any]) -> Handle:
    """Call `hook(grad)` when this tensor's gradient is known; it may return another."""
    edge = gradient_edge(self)
    if edge is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node, index = edge
    hooks: dict[int, Callable[..., Any]] = {}
    node.noted("tensor hooks", list).append((index, hooks))
    return Handle(hooks, hook)


@method
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[..., Any]) -> Handle:
    """Call `hook(param)` after this leaf's `.grad` has been updated."""
    edge = gradient_edge(self)
    if edge is None or not isinstance(edge[0], AccumulateGrad):
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return Handle(edge[0].noted("post accumulate", dict), hook)


@method
def retain_grad(self: Tensor) -> None:
    """Keep `.grad` of this inner tensor too."""
    if not self._requires:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self._node is None or retains_grad.fget(self):
        return
    self._hooks = True
    retained = self._node.noted("retained", list)
    retained.append((self._out, weakref.ref(self)))


@attribute
def retains_grad(self: Tensor) -> bool:
    """Was `retain_grad` called?"""
    return self._node is not None and bool(self._hooks)


@method
def is_inference(self: Tensor) -> bool:
    """Made under inference mode?"""
    return self._inference
