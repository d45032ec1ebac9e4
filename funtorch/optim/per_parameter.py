"""Optimisers that treat every parameter alike: one recorded op per group, whatever its size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from funtorch import dtypes
from funtorch.ops._declare import Array, Scalar, op
from funtorch.ops.creation import zeros_like
from funtorch.ops.from_data import tensor
from funtorch.optim.optimizer import Optimizer
from funtorch.optim.sparse import apart
from funtorch.tensor import Tensor

Rule = Callable[..., list[Array]]


def update_rule(rule: Rule) -> Any:
    """Make an op over lists of a rule for one parameter.

    rule(p, g, state, *, numbers...) -> [new p, *new state]. The op takes (params, grads, state) with
    the state column by column, and returns everything in that order, in the dtypes it had. Complex
    parameters come as pairs of real ones, as PyTorch treats them.
    """
    numbers = [p for p in inspect.signature(rule).parameters.values() if p.kind is p.KEYWORD_ONLY]

    def body(params: Any, grads: Any, state: Any, **given: Any) -> tuple[Array, ...]:
        count = len(params)
        rows = []
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            own = state[i::count]
            new = rule(_parts(p), _parts(g.astype(p.dtype)), [_parts(s) for s in own], **given)
            rows.append([_like(v, old) for v, old in zip(new, [p, *own], strict=True)])
        return tuple(row[k] for k in range(len(rows[0])) for row in rows)

    kinds = inspect.Parameter
    lists = [
        kinds(n, kinds.POSITIONAL_OR_KEYWORD, annotation="list[Array]")
        for n in ("params", "grads", "state")
    ]
    body.__name__ = rule.__name__
    body.__doc__ = rule.__doc__
    body.__signature__ = inspect.Signature([*lists, *numbers])  # type: ignore[attr-defined]
    return op(function=False, differentiable=False)(body)


def _parts(x: Array) -> Array:
    return jnp.stack([x.real, x.imag], -1) if jnp.iscomplexobj(x) else x


def _like(x: Array, old: Array) -> Array:
    if jnp.iscomplexobj(old):
        x = lax.complex(x[..., 0], x[..., 1])
    return x.reshape(old.shape).astype(old.dtype)


class PerParameter(Optimizer):
    """Subclasses give `rule` (an op of `update_rule`), the state at the beginning, and the numbers.

    columns: all keys that a state may have, in the order in which the rule takes them.
    """

    rule: Any
    columns: tuple[str, ...]

    def _initial(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def prepare_state(self) -> None:
        """Make the state of parameters that have a gradient but no state yet."""
        for group in self.param_groups:
            for param in self._with_gradients(group)[0]:
                if not self.state[param]:
                    self.state[param].update(self._initial(param, group))

    def _sparse_step(self, param: Tensor, grad: Any, group: dict[str, Any]) -> None:
        """The step of a parameter with a sparse gradient, if `takes_sparse`."""
        raise NotImplementedError

    def _numbers(self, group: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the rule."""
        raise NotImplementedError

    def _update(self, group: dict[str, Any]) -> None:
        params, grads = apart(*self._with_gradients(group), self._sparse_step, group)
        alike: dict[tuple[str, ...], list[int]] = {}
        for i, param in enumerate(params):
            state = self.state[param]
            if not state:
                state.update(self._initial(param, group))
            alike.setdefault(tuple([c for c in self.columns if c in state]), []).append(i)
        numbers = self._numbers(group)
        for names, chosen in alike.items():
            self._apply([params[i] for i in chosen], [grads[i] for i in chosen], names, numbers)

    def _apply(
        self, params: list[Tensor], grads: list[Any], names: Sequence[str], numbers: dict[str, Any]
    ) -> None:
        """Record the rule for parameters whose states have the same keys."""
        state = [_as_tensor(self.state[p], name) for name in names for p in params]
        outs = type(self).rule(params, grads, state, **numbers)
        self._write([*params, *state], outs)


def _as_tensor(state: dict[str, Any], name: str) -> Tensor:
    """State as a tensor; old checkpoints hold Python numbers."""
    value = state[name]
    if not isinstance(value, Tensor):
        value = state[name] = counter(float(value))
    return value


def counter(start: float = 0.0) -> Tensor:
    """A scalar of an optimiser's state, kept on the CPU's default float type as PyTorch keeps it."""
    wide = dtypes.get_default_dtype() is dtypes.float64
    return tensor(start, dtype=dtypes.float64 if wide else dtypes.float32)


def moments(param: Tensor, *names: str) -> dict[str, Tensor]:
    """Zeros like the parameter, under each name."""
    return {name: zeros_like(param) for name in names}


def varying(group: dict[str, Any], *names: str) -> dict[str, Any]:
    """Numbers of a group that may change from step to step; None for those that are zero."""
    return {name: x if isinstance(x := group[name], Tensor) else float(x) or None for name in names}


def decayed(p: Array, g: Array, weight_decay: Array | Scalar | None, maximize: bool) -> Array:
    """The gradient in the direction of descent, with L2 regularisation."""
    g = -g if maximize else g
    return g if weight_decay is None else g + weight_decay * p
