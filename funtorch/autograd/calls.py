"""`backward` and `grad`: where a walk over the tape begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funtorch.autograd import engine
from funtorch.composed import Composed, as_given
from funtorch.device import device_of
from funtorch.lowering import Aval
from funtorch.tape import gradient_edge
from funtorch.tensor import Tensor, dtype_of, from_host, size_of


def _as_tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, Sequence) else (given,)


def _root(tensor: Tensor) -> Any:
    edge = gradient_edge(tensor)
    if edge is None:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    return edge


def _initial_gradients(tensors: Sequence[Tensor], given: Any) -> list[Tensor]:
    given = (None,) * len(tensors) if given is None else _as_tuple(given)
    if len(given) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(given)} gradients")
    return [_initial_gradient(t, g) for t, g in zip(tensors, given, strict=True)]


def _in_layouts(tensors: Sequence[Tensor], grads: Sequence[Any]) -> list[Any]:
    """Gradients in the layouts of the tensors they belong to."""
    return [as_given(t, g) for t, g in zip(tensors, grads, strict=True)]


def _initial_gradient(tensor: Tensor, grad: Tensor | None) -> Tensor:
    if grad is None:
        aval = tensor._value.aval
        if aval in _ones:
            return _ones[aval]
        if aval.size != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        if not dtype_of(tensor).is_floating_point:
            raise RuntimeError(
                "grad can be implicitly created only for real scalar outputs but got "
                f"{dtype_of(tensor)!r}"
            )
        return _one(aval)
    if not isinstance(grad, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(grad).__name__}")
    if isinstance(tensor, Composed):
        return tensor._elements_of(grad)
    if size_of(grad) != size_of(tensor):
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {grad.shape} and output[0] has a "
            f"shape of {tensor.shape}."
        )
    if dtype_of(grad).is_complex != dtype_of(tensor).is_complex:
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same "
            f"dtype. Mismatch in dtype: grad_output[0] has a dtype of {grad.dtype} and output[0] "
            f"has a dtype of {tensor.dtype}."
        )
    return grad


_ones: dict[Aval, Tensor] = {}


def _one(aval: Aval) -> Tensor:
    made = from_host(np.ones(aval.shape, aval.dtype), device=device_of(aval.place))
    made._value.pinned = True
    _ones[aval] = made
    return made


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Accumulate the gradients of `tensors` with respect to the leaves into their `.grad`.

    grad_tensors: gradients of the tensors, needed where these are no scalars. inputs: only these
    leaves (or inner tensors) receive gradients.
    """
    roots = _as_tuple(tensors)
    if grad_tensors is None:
        grad_tensors = grad_variables
    if inputs is not None and len(_as_tuple(inputs)) == 0:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    grads = _initial_gradients(roots, grad_tensors)
    edges = None
    wanted: tuple[Tensor, ...] = ()
    if inputs is not None:
        wanted = _as_tuple(inputs)
        edges = [_input_edge(t) for t in wanted]
    keep = create_graph if retain_graph is None else retain_graph
    found = engine.run(
        [_root(t) for t in roots], grads, keep=keep, create_graph=create_graph, inputs=edges
    )
    for tensor, grad_ in zip(wanted, _in_layouts(wanted, found), strict=True) if edges else ():
        if tensor._node is not None and grad_ is not None:
            tensor._grad = grad_ if tensor._grad is None else tensor._grad + grad_


def _input_edge(tensor: Tensor) -> Any:
    edge = gradient_edge(tensor)
    if edge is None:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return edge


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; nothing is accumulated."""
    roots, wanted = _as_tuple(outputs), _as_tuple(inputs)
    if allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True"
        )
    if is_grads_batched:
        raise NotImplementedError(
            "autograd.grad(is_grads_batched=True): use func.vmap over func.vjp instead"
        )
    grads = _initial_gradients(roots, grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    edges = [_input_edge(t) for t in wanted]
    found = engine.run(
        [_root(t) for t in roots],
        grads,
        keep=keep,
        create_graph=create_graph,
        inputs=edges,
        accumulate=False,
    )
    found = _in_layouts(wanted, found)
    if materialize_grads:
        return tuple(
            g if g is not None else t.new_zeros(size_of(t))
            for g, t in zip(found, wanted, strict=True)
        )
    if not allow_unused and any(g is None for g in found):
        raise RuntimeError(
            "One of the differentiated Tensors appears to not have been used in the graph. Set "
            "allow_unused=True if this is the desired behavior."
        )
    return tuple(found)
