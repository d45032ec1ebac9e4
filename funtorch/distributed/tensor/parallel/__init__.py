"""torch.distributed.tensor.parallel: layers whose weights are cut over a mesh (Shoeybi et al. 2019)."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from funtorch.distributed.device_mesh import DeviceMesh
from funtorch.distributed.tensor._api import DTensor, distribute_tensor
from funtorch.distributed.tensor.placement_types import Placement, Replicate, Shard
from funtorch.nn.layers import Embedding, Linear
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.tensor import Tensor

__all__ = ["ColwiseParallel", "ParallelStyle", "RowwiseParallel", "parallelize_module"]


class ParallelStyle:
    """How a layer is cut. weight, bias: placements of its parameters."""

    def __init__(
        self,
        input_layouts: Placement,
        output_layouts: Placement,
        use_local_output: bool,
        desired: Placement,
    ) -> None:
        self.input_layouts, self.output_layouts = input_layouts, output_layouts
        self.use_local_output, self._desired = use_local_output, desired

    def _cuts(self, module: Module) -> dict[str, Placement]:
        raise NotImplementedError

    def _apply(self, module: Module, mesh: DeviceMesh) -> Module:
        """Replace the layer's parameters by cut ones, and place what goes in and comes out."""
        for name, placement in self._cuts(module).items():
            whole = module._parameters.get(name)
            if whole is not None:
                cut = distribute_tensor(whole.detach(), mesh, [placement])
                setattr(module, name, Parameter(cut, whole.requires_grad))
        module.register_forward_pre_hook(lambda _, given: self._placed(given, mesh))
        module.register_forward_hook(lambda _, given, made: self._handed_on(made))
        return module

    def _placed(self, given: tuple[Any, ...], mesh: DeviceMesh) -> tuple[Any, ...]:
        first, *rest = given
        if not isinstance(first, DTensor):
            first = DTensor.from_local(first, mesh, [self.input_layouts])
        return first.redistribute(placements=[self._desired]), *rest

    def _handed_on(self, made: DTensor) -> Tensor:
        made = made.redistribute(placements=[self.output_layouts])
        return made.to_local() if self.use_local_output else made


class ColwiseParallel(ParallelStyle):
    """Linear: each process computes some of the outputs."""

    def __init__(
        self,
        *,
        input_layouts: Placement | None = None,
        output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ) -> None:
        super().__init__(
            input_layouts or Replicate(), output_layouts or Shard(-1), use_local_output, Replicate()
        )

    def _cuts(self, module: Module) -> dict[str, Placement]:
        if isinstance(module, Linear):
            return {"weight": Shard(0), "bias": Shard(0)}
        if isinstance(module, Embedding):
            return {"weight": Shard(1)}
        raise NotImplementedError(
            "ColwiseParallel currently only support nn.Linear and nn.Embedding!"
        )


class RowwiseParallel(ParallelStyle):
    """Linear: each process computes a summand of all outputs from some of the inputs."""

    def __init__(
        self,
        *,
        input_layouts: Placement | None = None,
        output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ) -> None:
        super().__init__(
            input_layouts or Shard(-1), output_layouts or Replicate(), use_local_output, Shard(-1)
        )

    def _cuts(self, module: Module) -> dict[str, Placement]:
        if isinstance(module, Linear):
            return {"weight": Shard(1), "bias": Replicate()}
        raise NotImplementedError("RowwiseParallel of other layers than nn.Linear")


def parallelize_module(
    module: Module,
    device_mesh: DeviceMesh,
    parallelize_plan: ParallelStyle | dict[str, ParallelStyle],
    *,
    src_data_rank: int | None = 0,
) -> Module:
    """Cut a layer, or those that a plan names (with wildcards for whole names), in place."""
    if isinstance(parallelize_plan, ParallelStyle):
        return parallelize_plan._apply(module, device_mesh)
    for pattern, style in parallelize_plan.items():
        for part in _named(module, pattern.split(".")):
            style._apply(part, device_mesh)
    return module


def _named(module: Module, path: list[str]) -> Iterator[Module]:
    if not path:
        yield module
        return
    for name, part in module.named_children():
        if fnmatch.fnmatch(name, path[0]):
            yield from _named(part, path[1:])
