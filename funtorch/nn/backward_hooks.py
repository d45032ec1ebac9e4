"""Full backward hooks: identity nodes around a module's inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.autograd.function import Function
from funtorch.tensor import Tensor


class _Identity(Function):
    """Hands tensors through; its node is where the gradients of all of them meet."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads


class BackwardHook:
    """One call's watch over the gradients of a module's inputs and outputs."""

    def __init__(
        self, module: Any, after: Sequence[Callable[..., Any]], before: Sequence[Callable[..., Any]]
    ) -> None:
        self.module = module
        self.after = after
        self.before = before
        self.grad_outputs: Any = None
        self.watches_inputs = False

    def _wrapped(self, values: Any, attach: Callable[[Any], None]) -> tuple[Any, bool]:
        many = isinstance(values, tuple | list)
        items = list(values) if many else [values]
        where = [i for i, v in enumerate(items) if isinstance(v, Tensor) and v.requires_grad]
        if not where:
            return values, False
        made = _Identity.apply(*[items[i] for i in where])
        attach(made[0].grad_fn)
        for i, tensor in zip(where, made, strict=True):
            items[i] = tensor
        self.places = (where, len(items))
        return (
            type(values)(items)
            if many and not hasattr(values, "_fields")
            else tuple(items)
            if many
            else items[0]
        ), True

    def on_inputs(self, args: Any) -> Any:
        """Identity in front of the module; its hook sees the gradients of the inputs."""
        if not self.after:
            return args
        wrapped, self.watches_inputs = self._wrapped(
            args, lambda node: node.register_hook(self._inputs_ready)
        )
        self.in_places = self.places if self.watches_inputs else ([], 0)
        return wrapped

    def _inputs_ready(self, grad_inputs: Any, grad_outputs: Any) -> Any:
        where, count = self.in_places
        full: list[Any] = [None] * count
        for i, grad in zip(where, grad_inputs, strict=True):
            full[i] = grad
        result = tuple(full)
        for hook in self.after:
            found = hook(self.module, result, self.grad_outputs)
            if found is not None:
                result = found if isinstance(found, tuple) else (found,)
        return tuple(result[i] for i in where)

    def on_outputs(self, result: Any) -> Any:
        """Identity behind the module; its prehook sees the gradients of the outputs."""
        wrapped, watched = self._wrapped(
            result, lambda node: node.register_prehook(self._outputs_ready)
        )
        self.out_places = self.places if watched else ([], 0)
        return wrapped

    def _outputs_ready(self, grads: Any) -> Any:
        where, count = self.out_places
        full: list[Any] = [None] * count
        for i, grad in zip(where, grads, strict=True):
            full[i] = grad
        result = tuple(full)
        for hook in self.before:
            found = hook(self.module, result)
            if found is not None:
                result = found if isinstance(found, tuple) else (found,)
        self.grad_outputs = result
        if self.after and not self.watches_inputs:
            for hook in self.after:
                hook(self.module, (), self.grad_outputs)
        return tuple(result[i] for i in where)
