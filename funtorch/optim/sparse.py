"""Steps for sparse gradients: only the entries that a gradient has are touched. SparseAdam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funtorch.composed import Composed
from funtorch.optim.optimizer import Optimizer
from funtorch.sparse.kernels import added_at, picked
from funtorch.tensor import Tensor

Group = dict[str, Any]


def apart(
    params: list[Tensor], grads: list[Any], step: Callable[..., None], group: Group
) -> tuple[list[Tensor], list[Any]]:
    """Make the steps of parameters with a sparse gradient; returns the others."""
    if not any(isinstance(g, Composed) for g in grads):
        return params, grads
    left = []
    for param, grad in zip(params, grads, strict=True):
        if isinstance(grad, Composed):
            step(param, grad.detach(), group)
        else:
            left.append((param, grad))
    return [p for p, _ in left], [g for _, g in left]


def add_sparse(target: Tensor, grad: Any, scale: Any) -> None:
    """target += scale * grad, in place and outside of autograd."""
    plain = target.detach()
    target._replace(added_at(plain, grad._inner * scale, grad._places).to(plain.dtype))


def as_float(lr: Any) -> float:
    """A learning rate as a number."""
    return float(lr.item()) if isinstance(lr, Tensor) else float(lr)


class SparseAdam(Optimizer):
    """Adam whose moments and parameters change where the gradient has entries, for sparse gradients.

    Parameters are strided, e.g. those of `nn.Embedding(sparse=True)`. Source: torch.optim.SparseAdam.
    """

    takes_sparse = True

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, value in (("learning rate", lr), ("epsilon value", eps)):
            if not value > 0:
                raise ValueError(f"Invalid {name}: {value}")
        for index, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {index}: {beta}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        self._refuse(lambda p: p.is_sparse, "Sparse", "requires dense parameter tensors")
        self._refuse(lambda p: p.is_complex(), "Complex", "does not support complex parameters")

    def _refuse(self, bad: Callable[[Tensor], bool], what: str, why: str) -> None:
        at = [
            [i, j]
            for i, group in enumerate(self.param_groups)
            for j, param in enumerate(group["params"])
            if bad(param)
        ]
        if at:
            raise ValueError(f"{what} params at indices {at}: SparseAdam {why}")

    def _update(self, group: Group) -> None:
        for param, grad in zip(*self._with_gradients(group), strict=True):
            if not isinstance(grad, Composed):
                raise RuntimeError(
                    "SparseAdam does not support dense gradients, please consider Adam instead"
                )
            self._step(param, grad.detach(), group)

    def _step(self, param: Tensor, grad: Any, group: Group) -> None:
        state = self.state[param]
        if not state:
            plain = param.detach()
            state.update(step=0, exp_avg=plain.mul(0), exp_avg_sq=plain.mul(0))
        state["step"] += 1
        grad = (-grad if group["maximize"] else grad).coalesce()
        if not grad._inner.numel():
            return
        places, values = grad._places, grad._inner
        first, second = group["betas"]
        mean, square = (picked(state[k], places) for k in ("exp_avg", "exp_avg_sq"))
        more, more_square = (values - mean) * (1 - first), (values**2 - square) * (1 - second)
        for key, change in (("exp_avg", more), ("exp_avg_sq", more_square)):
            add_sparse(state[key], grad._with(change), 1.0)
        move = (mean + more) / ((square + more_square).sqrt() + group["eps"])
        corrected = (1 - second ** state["step"]) ** 0.5 / (1 - first ** state["step"])
        add_sparse(param, grad._with(move), -as_float(group["lr"]) * corrected)
