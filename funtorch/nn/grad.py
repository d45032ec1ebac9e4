"""torch.nn.grad: the gradients of convolutions as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch.autograd import grad
from funtorch.grad_mode import enable_grad
from funtorch.nn import functional as F
from funtorch.tensor import Tensor


def _gradient(
    convolve: Callable[..., Tensor],
    arguments: tuple[Tensor, ...],
    of: int,
    given: Tensor,
    rest: Any,
) -> Tensor:
    with enable_grad():
        inputs = [a.detach() for a in arguments]
        inputs[of].requires_grad_()
        (made,) = grad(convolve(*inputs, None, *rest), inputs[of], given)
    return made


def _functions(n: int) -> None:
    convolve = getattr(F, f"conv{n}d")

    def by_input(
        input_size: Any,
        weight: Tensor,
        grad_output: Tensor,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        rest = (stride, padding, dilation, groups)
        given = (weight.new_zeros(tuple(input_size)), weight)
        return _gradient(convolve, given, 0, grad_output, rest)

    def by_weight(
        input: Tensor,
        weight_size: Any,
        grad_output: Tensor,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        rest = (stride, padding, dilation, groups)
        given = (input, input.new_zeros(tuple(weight_size)))
        return _gradient(convolve, given, 1, grad_output, rest)

    for name, function in (("input", by_input), ("weight", by_weight)):
        function.__name__ = function.__qualname__ = f"conv{n}d_{name}"
        function.__doc__ = f"Gradient of conv{n}d in its {name}, whose size is given."
        globals()[function.__name__] = function


for _n in (1, 2, 3):
    _functions(_n)
