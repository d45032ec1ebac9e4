"""DistributedDataParallel in a group of one process: gradients are the module's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from funtorch.distributed.groups import ProcessGroup, member_of
from funtorch.nn.module import Module
from funtorch.nn.parallel.data_parallel import moved


class DistributedDataParallel(Module):
    """Wraps a module whose gradients the members of a group average.

    Raises ValueError without a process group, RuntimeError if no parameter requires a gradient.
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
    ) -> None:
        super().__init__()
        self.process_group = member_of(process_group)
        parameters = [p for p in module.parameters() if p.requires_grad]
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
        self.require_backward_grad_sync = self.require_forward_param_sync = True

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's outputs; inputs are moved to its device if `device_ids` are given."""
        if self.device_ids:
            inputs, kwargs = moved((inputs, kwargs), self.device)
        return self.module(*inputs, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within this context gradients are accumulated without being averaged."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    @contextlib.contextmanager
    def join(
        self,
        divide_by_initial_world_size: bool = True,
        enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Iterator[None]:
        """For members with different numbers of batches; one member waits for nobody."""
        yield

    def register_comm_hook(self, state: object, hook: Callable[..., Any]) -> None:
        """A function that replaces averaging. Not there: nothing is averaged in a group of one."""
        raise NotImplementedError("register_comm_hook: a group of one process averages nothing")
