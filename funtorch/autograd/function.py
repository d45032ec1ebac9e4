"""`autograd.Function`: a user's own forward and backward."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from funtorch.grad_mode import mode, no_grad
from funtorch.saving import Packed, hooks
from funtorch.tape import Node, gradient_edge
from funtorch.tensor import Storage, Tensor, alias, dtype_of, size_of


class FunctionCtx:
    """What forward leaves for backward. Also the tape node's view of the user's code."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self.materialize_grads = True
        self._to_save: tuple[Any, ...] | None = None
        self._saved_versions: list[tuple[Storage, int]] = []
        self._non_differentiable: tuple[Tensor, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._freed = False
        self._node: Node | None = None
        self._outputs: dict[int, int] = {}
        self._packed: Packed | None = None

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for backward; they are checked against in-place changes."""
        for tensor in tensors:
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type "
                    f"{type(tensor).__name__}"
                )
        self._to_save = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Tensor) -> None:
        """These inputs were changed in place by forward."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These outputs have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Should missing output gradients come as zeros (default) or as None?"""
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What forward saved. Raises RuntimeError if it was changed in place or freed."""
        if self._freed:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved "
                "tensors after they have already been freed). Saved intermediate values of the "
                "graph are freed when you call .backward() or autograd.grad(). Specify "
                "retain_graph=True if you need to backward through the graph a second time or if "
                "you need to access saved tensors after calling backward."
            )
        if self._packed is not None:
            return tuple(self._packed.tensors())
        for storage, version in self._saved_versions:
            if storage.version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by "
                    f"an inplace operation: {storage.value.aval!r} is at version "
                    f"{storage.version}; expected version {version} instead."
                )
        return tuple(self._restored(t) for t in self._to_save or ())

    saved_variables = saved_tensors

    def _restored(self, tensor: Tensor | None) -> Tensor | None:
        """A saved output gets its place on the tape back (it was saved without, against cycles)."""
        index = None if tensor is None else self._outputs.get(id(tensor))
        if index is None:
            return tensor
        made = alias(tensor)  # type: ignore[arg-type]
        made._node, made._out, made._requires = self._node, index, True
        return made


class FunctionNode(Node):
    """The tape node of one call of a user's function."""

    __slots__ = ("ctx", "function", "n_inputs", "once", "outputs")

    ctx: FunctionCtx
    function: type[Function]
    outputs: list[tuple[tuple[int, ...], Any, Any]]
    n_inputs: int

    def apply(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        """Call the user's backward."""
        if self.ctx.materialize_grads:
            grads = [self._zeros(i) if g is None else g for i, g in enumerate(grads)]
        made = self.function._backward_of()(self.ctx, *grads)
        made = made if isinstance(made, tuple) else (made,)
        given = list(made)
        while len(given) > self.n_inputs and given[-1] is None:
            given.pop()
        if len(given) != self.n_inputs:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected "
                f"{self.n_inputs}, got {len(given)})"
            )
        return [self._checked(i, g) for i, g in enumerate(given)]

    def _zeros(self, index: int) -> Tensor:
        shape, dtype, place = self.outputs[index]
        return zeros_of[0](shape, dtype, place)

    def _checked(self, index: int, grad: Any) -> Tensor | None:
        if grad is None:
            return None
        if not isinstance(grad, Tensor):
            raise TypeError(f"{self.name()}: expected Variable or None (got {type(grad).__name__})")
        return None if self.edges[index] is None else grad

    def release(self) -> None:
        """Forget what was saved."""
        if self.ctx._to_save is not None:
            self.ctx._freed = True
            self.ctx._to_save = None


zeros_of: list[Callable[..., Tensor]] = []
"""Makes zeros from (shape, dtype, place); put here by `funtorch`, which knows the op."""


@functools.cache
def _node_class(name: str) -> type[FunctionNode]:
    return type(f"{name}Backward", (FunctionNode,), {"__slots__": ()})


class Function:
    """Subclass it with static methods `forward` and `backward`, and call `apply`.

    forward(ctx, *args), or forward(*args) beside setup_context(ctx, inputs, output).
    backward(ctx, *grads) -> one gradient (or None) per argument of forward.
    """

    generate_vmap_rule = False

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """To be written by the subclass."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """To be written by the subclass if its forward takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """To be written by the subclass."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    @classmethod
    def _backward_of(cls) -> Callable[..., Any]:
        return cls.__dict__["vjp"].__func__ if "vjp" in cls.__dict__ else cls.backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward, and tape backward."""
        ctx = FunctionCtx()
        tensors = [a if isinstance(a, Tensor) else None for a in args]
        taped = mode.enabled and any(t is not None and t.requires_grad for t in tensors)
        ctx.needs_input_grad = tuple(
            bool(t is not None and t.requires_grad and mode.enabled) for t in tensors
        )
        split = cls.setup_context is not Function.setup_context
        with no_grad():
            if split:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **kwargs)
        ctx._saved_versions = [
            (t._storage, t._storage.version)
            for t in ctx._to_save or ()
            if t is not None and not any(t is d for d in ctx._dirty)
        ]
        if not taped:
            return result
        return _taped(cls, ctx, tensors, result)


def _taped(cls: type[Function], ctx: FunctionCtx, tensors: list[Tensor | None], result: Any) -> Any:
    many = isinstance(result, tuple | list)
    outs = list(result) if many else [result]
    edges = tuple(None if t is None else gradient_edge(t) for t in tensors)
    avals = [o._value.aval if isinstance(o, Tensor) else None for o in outs]
    node = _node_class(cls.__name__)(edges, avals)
    node.ctx, node.function, node.n_inputs = ctx, cls, len(tensors)
    node.outputs = [
        (size_of(o), dtype_of(o), o._value.aval.place)
        if isinstance(o, Tensor)
        else ((), None, None)
        for o in outs
    ]
    ctx._node = node
    if hooks and ctx._to_save:
        ctx._packed, ctx._to_save = Packed(ctx._to_save), None
    made = [_output(ctx, node, i, o, tensors) for i, o in enumerate(outs)]
    return tuple(made) if many else made[0]


def _output(
    ctx: FunctionCtx, node: FunctionNode, index: int, out: Any, inputs: list[Tensor | None]
) -> Any:
    if not isinstance(out, Tensor):
        return out
    if any(out is t for t in ctx._non_differentiable) or dtype_of(out).category < 2:
        return out
    dirty = any(out is t for t in ctx._dirty)
    if dirty and out._node is None and out._requires:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    if not dirty and any(out is t for t in inputs):
        out = alias(out)
    ctx._outputs[id(out)] = index
    if not dirty and any(out is t for t in ctx._to_save or ()):
        # The saved output stays without history: with it, node and output would hold each other.
        out = alias(out)
    out._node, out._out, out._requires = node, index, True
    out._base_tensor = None
    return out


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: this backward cannot be differentiated again; trying to is an error."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        wanted = mode.enabled and any(isinstance(g, Tensor) and g.requires_grad for g in grads)
        with no_grad():
            made = backward(ctx, *grads)
        if not mode.enabled:
            return made
        outs = made if isinstance(made, tuple) else (made,)
        if not wanted and not any(
            isinstance(t, Tensor) and t.requires_grad for t in ctx.saved_tensors
        ):
            return made
        barred = tuple(_barred(o) if isinstance(o, Tensor) else o for o in outs)
        return barred if isinstance(made, tuple) else barred[0]

    return wrapper


class _NotTwice(Node):
    """Stands where a second derivative does not exist."""

    __slots__ = ()

    def apply(self, grads: list[Tensor | None]) -> list[Tensor | None]:
        """Refuse."""
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


def _barred(tensor: Tensor) -> Tensor:
    made = alias(tensor)
    made._node, made._requires = _NotTwice((), (tensor._value.aval,)), True
    return made
