"""`fully_shard`: a module whose gradients processes average; each of them has it whole."""

from __future__ import annotations

from typing import Any

from funtorch.distributed.averaging import AverageAlways
from funtorch.distributed.fsdp.averaging import together
from funtorch.distributed.fsdp.casting import floats_as, parameters_as
from funtorch.distributed.fsdp.options import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy
from funtorch.distributed.groups import init_process_group, is_initialized, member_of
from funtorch.nn.module import Module


class FSDPModule:
    """What `fully_shard` adds to a module's class. Parameters are whole: there is nothing to gather."""

    _mp_policy: MixedPrecisionPolicy
    _averaging: AverageAlways

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own forward, with the policy's types."""
        policy = self._mp_policy
        if policy.cast_forward_inputs:
            args, kwargs = (floats_as(held, policy.param_dtype) for held in (args, kwargs))
        with parameters_as(self, policy.param_dtype):  # type: ignore[arg-type]
            made = super().forward(*args, **kwargs)  # type: ignore[misc]
        return floats_as(made, policy.output_dtype)

    def unshard(self, async_op: bool = False) -> None:
        """Parameters are whole already."""

    def reshard(self) -> None:
        """Parameters stay whole."""

    def set_requires_gradient_sync(self, value: bool, *, recurse: bool = True) -> None:
        """Average gradients after the next backward passes, or accumulate them only?"""
        self._averaging.on = value and self._averaging.group.size() > 1

    def set_reshard_after_forward(self, value: bool, recurse: bool = True) -> None:
        """Parameters stay whole."""

    def set_reshard_after_backward(self, value: bool, *, recurse: bool = True) -> None:
        """Parameters stay whole."""

    def set_is_last_backward(self, value: bool) -> None:
        """Gradients are averaged after each backward pass."""

    def set_modules_to_forward_prefetch(self, modules: Any) -> None:
        """Nothing is gathered."""

    def set_modules_to_backward_prefetch(self, modules: Any) -> None:
        """Nothing is gathered."""


def fully_shard(
    module: Any,
    *,
    mesh: Any = None,
    reshard_after_forward: bool | int | None = None,
    shard_placement_fn: Any = None,
    mp_policy: MixedPrecisionPolicy | None = None,
    offload_policy: OffloadPolicy | None = None,
    ignored_params: Any = None,
) -> Any:
    """Give a module (or several) the class FSDP<its class>, in place, and return it."""
    if isinstance(offload_policy, CPUOffloadPolicy):
        raise NotImplementedError("fully_shard(offload_policy=CPUOffloadPolicy())")
    if mesh is None and not is_initialized():
        init_process_group()
    group = member_of(None if mesh is None else mesh.get_group(mesh.ndim - 1))
    for part in [module] if isinstance(module, Module) else module:
        own = type(part)
        if isinstance(part, FSDPModule):
            raise ValueError("fully_shard has already been called on this module")
        part.__class__ = type(f"FSDP{own.__name__}", (FSDPModule, own), {})
        part._mp_policy = mp_policy or MixedPrecisionPolicy()
        part._averaging = together(part, group, part._mp_policy.reduce_dtype)
    return module
