"""DistributedDataParallel: after each backward pass, members average their gradients.

Forward and backward are recorded as ever, the gradients in a row as part of the same program. That
row is what members exchange, on the host; the optimiser's step, which begins with the mean, is the
next program. So a step has one barrier, whatever the number of parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from funtorch.autograd.engine import listen
from funtorch.distributed.algorithms.join import Join, Joinable, JoinHook
from funtorch.distributed.averaging import Averaging, Hook
from funtorch.distributed.buckets import broadcast_all
from funtorch.distributed.collectives import all_reduce
from funtorch.distributed.groups import ProcessGroup, member_of
from funtorch.distributed.objects import all_gather_object
from funtorch.distributed.reducing import ReduceOp
from funtorch.grad_mode import mode
from funtorch.nn.module import Module
from funtorch.nn.parallel.data_parallel import moved
from funtorch.ops.creation import zeros_like
from funtorch.ops.from_data import tensor
from funtorch.tape import AccumulateGrad, Node
from funtorch.tensor import Tensor, dtype_of, size_of


class DistributedDataParallel(Module, Joinable):
    """Wraps a module whose gradients the members of a group average.

    Construction makes every member's parameters and buffers those of rank 0. Raises ValueError
    without a process group, RuntimeError if no parameter requires a gradient or models differ.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool | None = None,
        init_sync: bool = True,
        process_group: ProcessGroup | None = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        device_mesh: Any = None,
    ) -> None:
        super().__init__()
        in_mesh = None if device_mesh is None else device_mesh.get_group()
        self.process_group = member_of(in_mesh or process_group)
        self._left_out = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = [(n, p) for n, p in module.named_parameters() if n not in self._left_out]
        parameters = [p for _, p in named if p.requires_grad]
        if not parameters:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter "
                "that requires a gradient."
            )
        self.module = module
        self.device = parameters[0].device
        self.device_type = self.device.type
        self.device_ids, self.output_device, self.dim = device_ids, output_device, dim
        self.static_graph = static_graph
        self.find_unused_parameters = find_unused_parameters
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.broadcast_buffers = broadcast_buffers is not False
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self._alone = self.process_group.size() == 1
        most = 25.0 if bucket_cap_mb is None else bucket_cap_mb
        some = find_unused_parameters or static_graph
        self._averaging = Averaging(parameters, self.process_group, most, some)
        self._awaited: set[int] | None = None  # parameters whose gradient is still to come
        self._came: set[int] = set()
        if not self._alone:
            listen(self)
            if init_sync:
                _check_alike(parameters, self.process_group)
                self._broadcast([p for _, p in named], 0)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's outputs; inputs are moved to its device if `device_ids` are given."""
        if self.device_ids:
            inputs, kwargs = moved((inputs, kwargs), self.device)
        if self._alone:
            return self.module(*inputs, **kwargs)
        syncs = mode.enabled and self.require_backward_grad_sync
        if syncs:
            self._check_finished()
        if self._join_config.enable:
            self._tell_joined(syncs)
        if self.require_forward_param_sync:
            self._sync_buffers(True)
        made = self.module(*inputs, **kwargs)
        self.require_forward_param_sync = self.require_backward_grad_sync
        self._came = set()
        self._awaited = self._expected(made) if syncs else None
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Without the group: a copy belongs to the default one."""
        left_out = ("process_group", "_averaging")
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.process_group = member_of(None)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        some = self.find_unused_parameters or self.static_graph
        self._averaging = Averaging(parameters, self.process_group, some=some)
        if not self._alone:
            listen(self)

    # Gradients ----------------------------------------------------------------------------------

    def _expected(self, outputs: Any) -> set[int]:
        """The parameters whose gradient a backward pass from these outputs will bring."""
        every = self._averaging.ids()
        return every & _reached(outputs) if self.find_unused_parameters else every

    def _check_finished(self) -> None:
        if not (self._awaited and self._came):
            return
        missing = [n for n, p in self.module.named_parameters() if id(p) in self._awaited]
        raise RuntimeError(
            "Expected to have finished reduction in the prior iteration before starting a new one. "
            "This error indicates that your module has parameters that were not used in producing "
            "loss. You can enable unused parameter detection by passing the keyword argument "
            "`find_unused_parameters=True` to `torch.nn.parallel.DistributedDataParallel`. "
            f"Parameters which did not receive grad for rank {self.process_group.rank()}: "
            f"{', '.join(missing)}"
        )

    def after_backward(self, leaves: Iterable[Tensor]) -> None:
        """Average gradients once all that are expected have come. (The engine calls it.)"""
        if self._awaited is None:
            return
        own = self._averaging.ids() & {id(leaf) for leaf in leaves}
        self._came |= own
        self._awaited -= own
        if own and (self.static_graph or not self._awaited):
            self._awaited = None
            self._average([p.grad for p in self._averaging.parameters])

    def _average(self, grads: list[Tensor | None]) -> None:
        self._averaging.average(grads, self._came)

    def register_comm_hook(self, state: object, hook: Hook) -> None:
        """hook(state, bucket) -> a future of the bucket's row, in place of averaging."""
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self._averaging.hook is not None:
            raise RuntimeError("register_comm_hook can only be called once.")
        self._averaging.hook = state, hook

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within this context gradients are accumulated without being averaged."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    # Buffers, and members without input ---------------------------------------------------------

    def _sync_buffers(self, active: bool) -> None:
        """Buffers become those of rank 0; in a join, of the last rank that has input."""
        if not self.broadcast_buffers or not self._own_buffers():
            return
        root = 0
        if self._join_config.enable or not active:
            rank = tensor([self.process_group.rank() if active else -1])
            all_reduce(rank, ReduceOp.MAX, self.process_group)
            root = int(rank.item())
        self._broadcast([], root)

    def _own_buffers(self) -> list[Tensor]:
        return [b for n, b in self.module.named_buffers() if n not in self._left_out]

    def _broadcast(self, parameters: list[Tensor], root: int) -> None:
        broadcast_all([*parameters, *self._own_buffers()], root, self.process_group)

    def _tell_joined(self, syncs: bool) -> None:
        work = Join.notify_join_context(self)
        active = self.process_group.size() if work is None else int(work.result()[0].item())
        divisor = self.process_group.size() if self._divides_by_all else active
        self._averaging.divisor = divisor
        says = tensor([int(syncs), int(self.require_forward_param_sync)])
        all_reduce(says, ReduceOp.MAX, self.process_group)

    _divides_by_all = True

    def join(
        self,
        divide_by_initial_world_size: bool = True,
        enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Join:
        """A context for members with different numbers of batches."""
        return Join(
            [self],
            enable,
            throw_on_early_termination,
            divide_by_initial_world_size=divide_by_initial_world_size,
        )

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """What this member does once it has no batches left."""
        self._divides_by_all = kwargs.get("divide_by_initial_world_size", True)
        return _DDPJoinHook(self)

    @property
    def join_device(self) -> Any:
        """Where parameters are."""
        return self.device

    @property
    def join_process_group(self) -> ProcessGroup:
        """The group that averages."""
        return self.process_group


class _DDPJoinHook(JoinHook):
    """Answers the collectives of a forward and a backward pass with zeros."""

    def __init__(self, ddp: DistributedDataParallel) -> None:
        self.ddp = ddp

    def main_hook(self) -> None:
        ddp = self.ddp
        says = tensor([0, 0])
        all_reduce(says, ReduceOp.MAX, ddp.process_group)
        averages, buffers = says.tolist()
        if buffers:
            ddp._sync_buffers(False)
        if averages:
            ddp._came = set()
            ddp._average([zeros_like(p) for p in ddp._averaging.parameters])

    def post_hook(self, is_last_joiner: bool) -> None:
        ddp = self.ddp
        ddp._averaging.divisor = ddp.process_group.size()
        rank = tensor([ddp.process_group.rank() if is_last_joiner else -1])
        all_reduce(rank, ReduceOp.MAX, ddp.process_group)
        ddp._broadcast(list(ddp.module.parameters()), int(rank.item()))


def _check_alike(parameters: list[Tensor], group: ProcessGroup) -> None:
    """All members' parameters have the same shapes and types."""
    own = [(size_of(p), str(dtype_of(p))) for p in parameters]
    every: list[Any] = [None] * group.size()
    all_gather_object(every, own, group)
    for rank, other in enumerate(every):
        if len(other) != len(own):
            raise RuntimeError(
                f"DDP expects same model across all ranks, but Rank {group.rank()} has {len(own)} "
                f"params, while rank {rank} has inconsistent {len(other)} params."
            )
        if other != own:
            i = next(i for i, pair in enumerate(zip(own, other)) if pair[0] != pair[1])
            raise RuntimeError(
                f"[{group.rank()}]: params[{i}] in this process with {own[i]} appears not to match "
                f"{other[i]} of the same param in process {rank}."
            )


def _tensors_in(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict):
        for value in held.values():
            yield from _tensors_in(value)
    elif isinstance(held, list | tuple):
        for value in held:
            yield from _tensors_in(value)
    elif is_dataclass(held):
        for field in fields(held):
            yield from _tensors_in(getattr(held, field.name))


def _reached(outputs: Any) -> set[int]:
    """The leaves (their ids) to which gradients of these outputs will come."""
    stack: list[Node] = [t._node for t in _tensors_in(outputs) if t._node is not None]
    seen, leaves = set(stack), set()
    while stack:
        node = stack.pop()
        if isinstance(node, AccumulateGrad):
            leaves.add(id(node.variable))
        for edge in node.edges:
            if edge is not None and edge[0] not in seen:
                seen.add(edge[0])
                stack.append(edge[0])
    return leaves
