"""Checking gradients against finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch.autograd.calls import grad as _grad
from funtorch.dispatch import to_host
from funtorch.grad_mode import enable_grad, no_grad
from funtorch.tensor import Tensor, dtype_of, from_host, size_of


class GradcheckError(RuntimeError):
    """An analytical gradient differs from the numerical one."""


def _as_tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, tuple | list) else (given,)


def _differentiable(given: Any) -> list[Tensor]:
    return [
        t
        for t in _as_tuple(given)
        if isinstance(t, Tensor) and dtype_of(t).category >= 2 and t.requires_grad
    ]


def _outputs(function: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Tensor]:
    outs = _as_tuple(function(*inputs))
    return [o for o in outs if isinstance(o, Tensor) and dtype_of(o).category >= 2]


def _directions(array: np.ndarray[Any, Any]) -> list[complex]:
    return [1.0, 1j] if array.dtype.kind == "c" else [1.0]


def _numerical(
    function: Callable[..., Any], inputs: tuple[Any, ...], which: Tensor, eps: float
) -> list[list[np.ndarray[Any, Any]]]:
    """Per element (and direction) of one input, how each output changes."""
    point = np.array(to_host(which))
    columns = []
    for index in np.ndindex(point.shape):
        for direction in _directions(point):
            moved = []
            for sign in (1, -1):
                shifted = point.copy()
                shifted[index] += sign * eps * direction
                probe = from_host(shifted)
                changed = tuple(probe if x is which else x for x in inputs)
                with no_grad():
                    moved.append([np.array(to_host(o)) for o in _outputs(function, changed)])
            columns.append([(a - b) / (2 * eps) for a, b in zip(*moved, strict=True)])
    return columns


def _analytical(
    outputs: list[Tensor], which: Tensor
) -> list[list[tuple[complex, np.ndarray[Any, Any]]]]:
    """Per output, for each unit cotangent, the gradient of one input."""
    rows = []
    for output in outputs:
        grads = []
        shape = size_of(output)
        for index in np.ndindex(shape):
            for direction in _directions(np.empty(0, dtype_of(output).numpy)):
                unit = np.zeros(shape, dtype_of(output).numpy)
                unit[index] = direction
                if not output.requires_grad:
                    grads.append((direction, np.zeros(size_of(which), dtype_of(which).numpy)))
                    continue
                (grad,) = _grad(
                    output, which, from_host(unit), retain_graph=True, allow_unused=True
                )
                zero = np.zeros(size_of(which), dtype_of(which).numpy)
                grads.append((direction, zero if grad is None else np.array(to_host(grad))))
        rows.append(grads)
    return rows


def _compare(
    function: Callable[..., Any], inputs: tuple[Any, ...], eps: float, atol: float, rtol: float
) -> None:
    outputs = _outputs(function, inputs)
    for position, which in enumerate(inputs):
        if not (isinstance(which, Tensor) and which.requires_grad):
            continue
        numerical = _numerical(function, inputs, which, eps)
        analytical = _analytical(outputs, which)
        directions = _directions(np.empty(0, dtype_of(which).numpy))
        for out_index, grads in enumerate(analytical):
            for at, (cotangent, grad) in enumerate(grads):
                element = at // len(_directions(np.empty(0, dtype_of(outputs[out_index]).numpy)))
                wanted = _pulled(numerical, out_index, element, cotangent, directions, grad)
                if not np.allclose(grad, wanted, atol=atol, rtol=rtol):
                    raise GradcheckError(
                        f"Jacobian mismatch for output {out_index} with respect to input "
                        f"{position},\nnumerical:{wanted}\nanalytical:{grad}"
                    )


def _pulled(
    numerical: list[list[np.ndarray[Any, Any]]],
    out_index: int,
    element: int,
    cotangent: complex,
    directions: list[complex],
    grad: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """The gradient that finite differences give for one unit cotangent."""
    wanted = np.zeros(grad.shape, grad.dtype)
    for i, index in enumerate(np.ndindex(grad.shape)):
        for d, direction in enumerate(directions):
            change = numerical[i * len(directions) + d][out_index].reshape(-1)[element]
            part = np.real(np.conj(cotangent) * change)
            wanted[index] += part * direction if grad.dtype.kind == "c" else part
    return wanted


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    fast_mode: bool = False,
) -> bool:
    """Compare gradients of `func` at `inputs` with central differences.

    Returns True; raises GradcheckError (or returns False with raise_exception=False) on a mismatch.
    """
    given = _as_tuple(inputs)
    if not _differentiable(given):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the "
            "them have requires_grad=True."
        )
    for tensor in _differentiable(given):
        if dtype_of(tensor).name not in ("float64", "complex128"):
            warnings.warn(
                "an input requires gradient and is not a double precision floating point or "
                "complex: this check will likely fail.",
                UserWarning,
                stacklevel=2,
            )
    try:
        _compare(func, given, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    **options: Any,
) -> bool:
    """Compare second derivatives of `func` at `inputs` with central differences."""
    given = _as_tuple(inputs)
    outputs = _outputs(func, given)
    if grad_outputs is None:
        generator = np.random.default_rng(0)
        grad_outputs = tuple(
            from_host(
                generator.standard_normal(size_of(o)).astype(dtype_of(o).numpy)
            ).requires_grad_()
            for o in outputs
        )
    count = len(given)

    def gradient(*args: Any) -> tuple[Tensor, ...]:
        own, cotangents = args[:count], args[count:]
        own = tuple(
            a.requires_grad_()
            if isinstance(a, Tensor)
            and dtype_of(a).category >= 2
            and not a.requires_grad
            and isinstance(g, Tensor)
            and g.requires_grad
            else a
            for a, g in zip(own, given, strict=True)
        )
        with enable_grad():
            outs = _outputs(func, own)
            kept = [(o, c) for o, c in zip(outs, cotangents, strict=True) if o.requires_grad]
            found = _grad(
                [o for o, _ in kept],
                _differentiable(own),
                [c for _, c in kept],
                create_graph=True,
                allow_unused=True,
            )
        return tuple(f for f in found if f is not None)

    return gradcheck(
        gradient,
        (*given, *_as_tuple(grad_outputs)),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
    )
