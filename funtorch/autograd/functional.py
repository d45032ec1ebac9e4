"""torch.autograd.functional: derivatives of a function of tensors, by the tape.

`inputs` and `v` are tensors or tuples of them, and results come in the same form. With
create_graph=True they can be differentiated again. strict=True raises RuntimeError where a derivative
is zero because nothing leads from an input to the output; otherwise it is a tensor of zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.autograd.calls import grad
from funtorch.func import jacfwd, jacrev
from funtorch.grad_mode import enable_grad
from funtorch.ops.creation import ones_like, zeros_like
from funtorch.ops.joining import stack
from funtorch.tensor import Tensor, size_of

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = tuple[Tensor, ...]


def _as_tuple(given: Any, what: str, function: str) -> tuple[bool, Tensors]:
    """(was it a tuple, the tensors in it)."""
    held = given if isinstance(given, tuple) else (given,)
    for tensor in held:
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but "
                f"one of them has type {type(tensor)}."
            )
    return isinstance(given, tuple), held


def _leaves(inputs: Sequence[Tensor], create_graph: bool) -> Tensors:
    """Tensors to differentiate by: new leaves, or views that stay on the tape."""
    return tuple(
        t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_()
        for t in inputs
    )


def _called(function: Callable[..., Any], inputs: Tensors, name: str) -> tuple[bool, Tensors]:
    return _as_tuple(function(*inputs), "outputs of the user-provided function", name)


def _checked_v(v: Any, like: Tensors, name: str) -> Tensors:
    """The given vectors; ones if there is one scalar output."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"The vector v can only be None if the user-provided function {name} returns a "
                "single Tensor with a single element."
            )
        return (ones_like(like[0]),)
    held = _as_tuple(v, "v", name)[1]
    if len(held) != len(like):
        raise RuntimeError(f"v has invalid length: should be {len(like)} but got {len(held)}.")
    for one, other in zip(held, like, strict=True):
        if size_of(one) != size_of(other):
            raise RuntimeError(f"v has invalid size: should be {other.shape} but got {one.shape}.")
    return held


def _gradients(
    outputs: Tensors,
    inputs: Tensors,
    given: Sequence[Tensor | None],
    strict: bool,
    create_graph: bool,
    what: str = "output",
) -> Tensors:
    """Gradients of those outputs that have any; zeros, or an error, where nothing leads there."""
    pairs = [(o, g) for o, g in zip(outputs, given, strict=True) if o.requires_grad]
    if strict and len(pairs) < len(outputs):
        raise RuntimeError(f"The {what} of the user-provided function does not require gradients.")
    found: Sequence[Tensor | None] = (None,) * len(inputs)
    if pairs:
        roots, weights = zip(*pairs, strict=True)
        found = grad(
            roots, inputs, weights, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
    for i, one in enumerate(found):
        if strict and (one is None or (create_graph and not one.requires_grad)):
            raise RuntimeError(
                f"The {what} of the user-provided function is independent of input {i}. This is "
                "not allowed in strict mode."
            )
    return tuple(zeros_like(t) if g is None else g for g, t in zip(found, inputs, strict=True))


def _result(held: Tensors, as_tuple: bool, create_graph: bool) -> Any:
    made = held if create_graph else tuple(t.detach() for t in held)
    return made if as_tuple else made[0]


def _scalar(outputs: Tensors, several: bool, name: str) -> None:
    if several:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {name} should contain a single element"
        )


@enable_grad()
def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """(func(*inputs), v times the Jacobian). v: like the outputs; None if that is one number."""
    in_tuple, held = _as_tuple(inputs, "inputs", "vjp")
    leaves = _leaves(held, create_graph)
    out_tuple, outs = _called(func, leaves, "vjp")
    grads = _gradients(outs, leaves, _checked_v(v, outs, "vjp"), strict, create_graph)
    return _result(outs, out_tuple, create_graph), _result(grads, in_tuple, create_graph)


@enable_grad()
def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """(func(*inputs), the Jacobian times v), by differentiating twice. v: like the inputs."""
    _, held = _as_tuple(inputs, "inputs", "jvp")
    leaves = _leaves(held, create_graph)
    vectors = _checked_v(v, leaves, "jvp")
    out_tuple, outs = _called(func, leaves, "jvp")
    weights = tuple(zeros_like(o).requires_grad_() for o in outs)
    grads = _gradients(outs, leaves, weights, strict, True)
    made = _gradients(grads, weights, vectors, strict, create_graph, "gradient")
    return _result(outs, out_tuple, create_graph), _result(made, out_tuple, create_graph)


@enable_grad()
def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """(func(*inputs), v times the Hessian) of a function of one number. v: like the inputs."""
    in_tuple, held = _as_tuple(inputs, "inputs", "vhp")
    leaves = _leaves(held, create_graph)
    vectors = _checked_v(v, leaves, "vhp")
    several, outs = _called(func, leaves, "vhp")
    _scalar(outs, several, "vhp")
    slopes = _gradients(outs, leaves, (None,), strict, True)
    made = _gradients(slopes, leaves, vectors, strict, create_graph, "jacobian")
    return _result(outs, False, create_graph), _result(made, in_tuple, create_graph)


@enable_grad()
def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """(func(*inputs), the Hessian times v) of a function of one number. v: like the inputs."""
    in_tuple, held = _as_tuple(inputs, "inputs", "hvp")
    leaves = _leaves(held, create_graph)
    vectors = _checked_v(v, leaves, "hvp")
    several, outs = _called(func, leaves, "hvp")
    _scalar(outs, several, "hvp")
    slopes = _gradients(outs, leaves, (None,), strict, True)
    weights = tuple(zeros_like(t).requires_grad_() for t in leaves)
    bent = _gradients(slopes, leaves, weights, strict, True, "jacobian")
    made = _gradients(bent, weights, vectors, strict, create_graph, "hessian")
    return _result(outs, False, create_graph), _result(made, in_tuple, create_graph)


@enable_grad()
def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """All first derivatives: for an output [a...] and an input [b...] a tensor [a..., b...].

    vectorize: one pass for all elements (`func.jacrev`), else one pass of the tape per element.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError("strategy: expected 'forward-mode' or 'reverse-mode'")
    if strategy == "forward-mode" and create_graph:
        raise NotImplementedError("jacobian: create_graph=True needs strategy='reverse-mode'")
    in_tuple, held = _as_tuple(inputs, "inputs", "jacobian")
    which: Any = tuple(range(len(held))) if in_tuple else 0
    if strict and (vectorize or strategy == "forward-mode"):
        raise RuntimeError("jacobian: strict=True and vectorize=True exclude each other")
    if strategy == "forward-mode":
        return jacfwd(func, which)(*held)
    leaves = _leaves(held, create_graph)
    if vectorize:
        made = jacrev(func, which)(*leaves)
        return made if create_graph else _detached(made)
    out_tuple, outs = _called(func, leaves, "jacobian")
    rows = tuple(
        _result(_rows(out, leaves, strict, create_graph), in_tuple, create_graph) for out in outs
    )
    return rows if out_tuple else rows[0]


def _rows(out: Tensor, leaves: Tensors, strict: bool, create_graph: bool) -> Tensors:
    """The derivatives of one output with respect to all inputs."""
    flat, found = out.reshape(-1), []
    for i in range(out.numel()):
        found.append(_gradients((flat[i],), leaves, (None,), strict, create_graph))
    if not found:
        return tuple(out.new_zeros((*size_of(out), *size_of(leaf))) for leaf in leaves)
    return tuple(
        stack(of_one).reshape((*size_of(out), *size_of(leaf)))
        for of_one, leaf in zip(zip(*found, strict=True), leaves, strict=True)
    )


def _detached(held: Any) -> Any:
    return tuple(map(_detached, held)) if isinstance(held, tuple) else held.detach()


@enable_grad()
def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """All second derivatives of a function of one number: for inputs [a...], [b...] a [a..., b...]."""
    in_tuple, held = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy == "forward-mode" and not vectorize:
        raise AssertionError("hessian: outer_jacobian_strategy='forward-mode' needs vectorize=True")

    def slopes(*given: Tensor) -> Any:
        several, outs = _called(func, given, "hessian")
        _scalar(outs, several, "hessian")
        return _gradients((outs[0].squeeze(),), given, (None,), strict, True)

    if vectorize:
        made = jacobian(
            lambda *given: jacrev(func, tuple(range(len(given))))(*given),
            held,
            create_graph,
            strict,
            True,
            outer_jacobian_strategy,
        )
    else:
        made = jacobian(slopes, held, create_graph, strict)
    return made if in_tuple else made[0][0]
