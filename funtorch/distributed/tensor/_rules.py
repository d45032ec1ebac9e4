"""Functions that are carried out on what each process holds: pointwise ones, products, sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funtorch.autograd.function import Function
from funtorch.distributed.collectives import all_reduce
from funtorch.distributed.device_mesh import DeviceMesh
from funtorch.distributed.groups import ProcessGroup
from funtorch.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard
from funtorch.nn.functional import linear
from funtorch.tensor import Tensor

Placements = tuple[Placement, ...]
Run = Callable[[Sequence[Tensor]], Any]
Make = Callable[[Tensor, DeviceMesh, Placements, Sequence[int]], Any]

_POINTWISE = """
abs add addcdiv addcmul bfloat16 bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clone
contiguous cos detach div double eq erf exp expm1 float floor ge gelu gt half isfinite isinf isnan le
leaky_relu log log1p logical_and logical_not logical_or lt maximum minimum mul ne neg pow reciprocal
relu round rsqrt rsub sigmoid sign silu sin softplus sqrt square sub tan tanh to true_divide type where
"""
POINTWISE = frozenset([*_POINTWISE.split(), "empty_like", "full_like", "ones_like", "zeros_like"])

ELEMENTWISE_STEPS = frozenset(
    ["_adadelta", "_adagrad", "_adam", "_adamax", "_asgd", "_nadam", "_radam", "_rmsprop", "_rprop"]
    + ["_sgd"]
)
"""Optimisers' steps that treat every element alike: right for what each process holds."""

_LINEAR = frozenset(["add", "sub", "neg", "clone", "detach", "contiguous"])


class Shared(Function):
    """A whole tensor used with others that are cut: its gradient is the sum over these groups."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, groups: list[ProcessGroup]) -> Tensor:
        ctx.groups = groups
        return local.view_as(local)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad = grad.clone()
        for group in ctx.groups:
            all_reduce(grad, group=group)
        return grad, None


def on_parts(name: str, run: Run, parts: Sequence[Any], n_given: int, make: Make) -> Any:
    """The result of a function on local parts, or None where there is no rule.

    parts: its DTensors. run: calls it with other tensors in their place. n_given: number of all its
    arguments.
    """
    mesh = parts[0].device_mesh
    if name in POINTWISE:
        return _pointwise(name, run, parts, mesh, make)
    if name in ("matmul", "mm", "linear") and len(parts) in (2, 3) and mesh.ndim == 1:
        return _product(name, run, parts, mesh, make)
    if name == "sum" and n_given == 1 and not any(p.is_partial() for p in parts[0].placements):
        placed = tuple(Partial() if p.is_shard() else p for p in parts[0].placements)
        return make(run([parts[0].to_local()]), mesh, placed, ())
    return None


def _operand(part: Any, placed: Placements, result: Placements) -> Tensor:
    """The local part of an operand; one that is whole where the result is cut is shared."""
    local = part.redistribute(placements=placed).to_local()
    groups = [
        group
        for group, own, made in zip(part.device_mesh.get_all_groups(), placed, result, strict=True)
        if own.is_replicate() and not made.is_replicate()
    ]
    return Shared.apply(local, groups) if groups and local.requires_grad else local


def _pointwise(name: str, run: Run, parts: Sequence[Any], mesh: DeviceMesh, make: Make) -> Any:
    """Cut where any operand is; the dimensions of operands are counted from the back."""
    first = parts[0]
    alike = all(p.placements == first.placements and p.shape == first.shape for p in parts)
    if name in _LINEAR and alike and all(p.is_partial("sum") for p in first.placements):
        return make(run([p.to_local() for p in parts]), mesh, first.placements, first.shape)
    ranks = [len(p.shape) for p in parts]
    ndim, shape = max(ranks), _broadcast([tuple(p.shape) for p in parts])
    result: list[Any] = []
    for i in range(mesh.ndim):
        placed = zip(ranks, [p.placements[i] for p in parts], strict=True)
        cut = [p.dim - rank for rank, p in placed if isinstance(p, Shard)]
        taken = [r.dim - ndim for r in result if r.is_shard()]
        free = [d for d in cut if d not in taken and shape[d] > 1]
        result.append(Shard(free[0] + ndim) if free else Replicate())
    operands = []
    for part, rank in zip(parts, ranks, strict=True):
        own = [
            Shard(r.dim - ndim + rank)
            if r.is_shard() and r.dim - ndim >= -rank and part.shape[r.dim - ndim] > 1
            else Replicate()
            for r in result
        ]
        operands.append(_operand(part, tuple(own), tuple(result)))
    return make(run(operands), mesh, tuple(result), shape)


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(s)) + s for s in shapes]
    return tuple(max(column) if 0 not in column else 0 for column in zip(*padded))


def _product(name: str, run: Run, parts: Sequence[Any], mesh: DeviceMesh, make: Make) -> Any:
    """x [..., k] times w: on the parts, if x is cut along a batch dimension, w along its columns, or
    both along k. `linear` has its w the other way round, and perhaps a bias.
    """
    x, w, *rest = parts
    if len(w.shape) != 2 or len(x.shape) < 2:
        return None
    last = len(x.shape) - 1
    row, column = (1, 0) if name == "linear" else (0, 1)
    a, b = x.placements[0], w.placements[0]
    shape = (*x.shape[:-1], w.shape[column])
    result: Placement
    if a.is_shard() and not a.is_shard(last) and b.is_replicate():
        result, own = a, [(a,), (b,), *[(Replicate(),) for _ in rest]]
    elif b.is_shard(column) and not a.is_shard():
        result, own = Shard(last), [(Replicate(),), (b,), *[(Shard(0),) for _ in rest]]
    elif a.is_shard(last) and b.is_shard(row):
        if rest:
            return linear(x, w).redistribute(placements=[Replicate()]) + rest[0]
        result, own = Partial(), [(a,), (b,)]
    else:
        return None
    operands = [_operand(p, o, (result,)) for p, o in zip(parts, own, strict=True)]
    return make(run(operands), mesh, (result,), shape)
