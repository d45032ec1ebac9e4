"""Collectives through which gradients flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funtorch.autograd.function import Function
from funtorch.distributed import collectives
from funtorch.distributed.collectives import root_of
from funtorch.distributed.groups import member_of
from funtorch.distributed.reducing import RedOpType, ReduceOp
from funtorch.ops.creation import empty_like, zeros_like
from funtorch.tensor import Tensor


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, src: int, group: Any) -> Tensor:
        ctx.root, ctx.group = root_of(member_of(group), src, None), group
        made = tensor.clone()
        collectives.broadcast(made, group_src=ctx.root, group=group)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        summed = _Reduce.apply(grad, member_of(ctx.group).ranks[ctx.root], ReduceOp.SUM, ctx.group)
        own = member_of(ctx.group).rank() == ctx.root
        return summed if own else zeros_like(summed), None, None


class _Reduce(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dst: int, op: RedOpType, group: Any) -> Tensor:
        ctx.dst, ctx.group = dst, group
        made = tensor.clone()
        collectives.reduce(made, dst, op, group)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _Broadcast.apply(grad, ctx.dst, ctx.group), None, None, None


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, op: RedOpType, group: Any) -> Tensor:
        ctx.op, ctx.group = op, group
        made = tensor.clone()
        collectives.all_reduce(made, op, group)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _AllReduce.apply(grad, ctx.op, ctx.group), None, None


class _AllToAll(Function):
    """shapes: of what comes from each member."""

    @staticmethod
    def forward(ctx: Any, shapes: Any, group: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.shapes, ctx.group = [tuple(tensor.shape) for tensor in tensors], group
        made = [tensors[0].new_empty(shape) for shape in shapes]
        collectives.all_to_all(made, list(tensors), group)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None, *_AllToAll.apply(ctx.shapes, ctx.group, *grads)


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> tuple[Tensor, ...]:
        ctx.group = group
        made = [empty_like(tensor) for _ in range(member_of(group).size())]
        collectives.all_gather(made, tensor, group)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _ReduceScatter.apply(ReduceOp.SUM, ctx.group, *grads), None


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: Any, op: RedOpType, group: Any, *tensors: Tensor) -> Tensor:
        ctx.group = group
        made = empty_like(tensors[member_of(group).rank()])
        collectives.reduce_scatter(made, list(tensors), op, group)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, None, *_AllGather.apply(grad, ctx.group)


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dst: int, group: Any) -> tuple[Tensor, ...]:
        members = member_of(group)
        ctx.dst, ctx.group = dst, group
        made = [zeros_like(tensor) for _ in range(members.size())]
        own = members.rank() == root_of(members, dst, None)
        collectives.gather(tensor, made if own else None, dst, group)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Scatter.apply(ctx.dst, ctx.group, *grads), None, None


class _Scatter(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Any, *tensors: Tensor) -> Tensor:
        members = member_of(group)
        ctx.src, ctx.group = src, group
        made = empty_like(tensors[0])
        own = members.rank() == root_of(members, src, None)
        collectives.scatter(made, list(tensors) if own else None, src, group)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, None, *_Gather.apply(grad, ctx.src, ctx.group)


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """The tensor of `src`."""
    return _Broadcast.apply(tensor, src, group)


def gather(tensor: Tensor, dst: int = 0, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all members, for `dst`; zeros for the others."""
    return _Gather.apply(tensor, dst, group)


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Any = None) -> Tensor:
    """This member's tensor among those of `src`."""
    return _Scatter.apply(src, group, *tensors)


def reduce(tensor: Tensor, dst: int, op: RedOpType = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum over all members, for `dst`."""
    return _Reduce.apply(tensor, dst, op, group)


def all_reduce(tensor: Tensor, op: RedOpType = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum over all members."""
    return _AllReduce.apply(tensor, op, group)


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all members."""
    return _AllGather.apply(tensor, group)


def reduce_scatter(
    output: Tensor, input_list: Sequence[Tensor], op: RedOpType = ReduceOp.SUM, group: Any = None
) -> Tensor:
    """This member's entry of the sum of all members' lists. `output` gives its shape."""
    return _ReduceScatter.apply(op, group, *input_list)


def all_to_all(
    output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Any = None
) -> tuple[Tensor, ...]:
    """One tensor from each member."""
    shapes = [tuple(tensor.shape) for tensor in output_tensor_list]
    return _AllToAll.apply(shapes, group, *input_tensor_list)


class _AllToAllSingle(Function):
    @staticmethod
    def forward(
        ctx: Any, shape: Any, received: Any, sent: Any, group: Any, tensor: Tensor
    ) -> Tensor:
        ctx.given = (tuple(tensor.shape), sent, received, group)
        made = tensor.new_empty(shape)
        collectives.all_to_all_single(made, tensor, received, sent, group)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, None, None, None, _AllToAllSingle.apply(*ctx.given, grad)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
) -> Tensor:
    """As `all_to_all`, of parts of one tensor."""
    shape = tuple(output.shape)
    return _AllToAllSingle.apply(shape, output_split_sizes, input_split_sizes, group, input)
