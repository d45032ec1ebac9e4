"""FullyShardedDataParallel: every process keeps every parameter whole, and gradients are averaged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from funtorch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    moved,
    set_optimizer_state_dict,
)
from funtorch.distributed.fsdp.averaging import together
from funtorch.distributed.fsdp.casting import floats_as, parameters_as
from funtorch.distributed.fsdp.options import (
    BackwardPrefetch,
    CPUOffload,
    FullOptimStateDictConfig,
    FullStateDictConfig,
    MixedPrecision,
    OptimStateDictConfig,
    ShardingStrategy,
    StateDictConfig,
    StateDictSettings,
    StateDictType,
)
from funtorch.distributed.fsdp.wrap import wrapped_inside
from funtorch.distributed.groups import get_rank, member_of
from funtorch.distributed.names import WRAPPED
from funtorch.nn.module import Module
from funtorch.nn.utils.clip_grad import clip_grad_norm_
from funtorch.optim import Optimizer
from funtorch.tensor import Tensor


class FullyShardedDataParallel(Module):
    """Wraps a module; its `state_dict` has the names of the module alone.

    Construction makes all members' parameters those of rank 0; after backward the outermost wrapper
    averages the gradients of all that is in it. Whatever the strategy, no member gives memory away: the
    numbers are those of sharding, the memory is that of DistributedDataParallel. Mixed precision means
    what it says. Raises ValueError without a process group.
    """

    def __init__(
        self,
        module: Module,
        process_group: Any = None,
        sharding_strategy: ShardingStrategy | None = None,
        cpu_offload: CPUOffload | None = None,
        auto_wrap_policy: Any = None,
        backward_prefetch: BackwardPrefetch | None = BackwardPrefetch.BACKWARD_PRE,
        mixed_precision: MixedPrecision | None = None,
        ignored_modules: Any = None,
        param_init_fn: Any = None,
        device_id: Any = None,
        sync_module_states: bool = False,
        forward_prefetch: bool = False,
        limit_all_gathers: bool = True,
        use_orig_params: bool = False,
        ignored_states: Any = None,
        device_mesh: Any = None,
    ) -> None:
        super().__init__()
        in_mesh = None if device_mesh is None else device_mesh.get_group(device_mesh.ndim - 1)
        self.process_group = member_of(in_mesh or process_group)
        if cpu_offload is not None and cpu_offload.offload_params:
            raise NotImplementedError("FullyShardedDataParallel(cpu_offload=...)")
        self.sharding_strategy = sharding_strategy or ShardingStrategy.NO_SHARD
        self.mixed_precision = mixed_precision or MixedPrecision()
        if param_init_fn is not None:
            module.apply(param_init_fn)
        if device_id is not None:
            module.to(device_id)
        if auto_wrap_policy is not None:
            options: dict[str, Any] = {
                "process_group": self.process_group,
                "mixed_precision": mixed_precision,
                "sharding_strategy": sharding_strategy,
            }
            wrapped_inside(
                module, auto_wrap_policy, lambda part: FullyShardedDataParallel(part, **options)
            )
        if self.mixed_precision.buffer_dtype is not None:
            for part in module.modules():
                part._buffers.update(
                    floats_as(dict(part._buffers), self.mixed_precision.buffer_dtype)
                )
        self._fsdp_wrapped_module = module
        self._register_load_state_dict_pre_hook(_with_wrapped_names)
        self._settings = StateDictSettings()
        self._averaging = together(self, self.process_group, self.mixed_precision.reduce_dtype)

    @property
    def module(self) -> Module:
        """The module inside."""
        return self._modules[WRAPPED]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._modules[WRAPPED], name)

    def __getitem__(self, key: Any) -> Any:
        return self.module[key]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        dtype = self.mixed_precision.param_dtype
        with parameters_as(self.module, dtype):
            return self.module(*floats_as(args, dtype), **floats_as(kwargs, dtype))

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The module's state, under the names that it has without wrappers."""
        before = set(kwargs.get("destination") or ())
        state = super().state_dict(*args, **kwargs)
        prefix = f"{kwargs.get('prefix', '')}{WRAPPED}."
        for name in [n for n in state if n not in before and n.startswith(prefix)]:
            value = state.pop(name)
            config = self._settings.state_dict_config
            if getattr(config, "rank0_only", False) and get_rank() != 0:
                continue
            state[name.replace(f"{WRAPPED}.", "")] = moved(value, config.offload_to_cpu)
        return state

    def clip_grad_norm_(self, max_norm: float, norm_type: float = 2.0) -> Tensor:
        """Clip the gradients of all parameters together; returns their norm before."""
        return clip_grad_norm_(self.parameters(), max_norm, norm_type)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within this context gradients are accumulated without being averaged."""
        before = self._averaging.on
        self._averaging.on = False
        try:
            yield
        finally:
            self._averaging.on = before

    # What users call on the class ---------------------------------------------------------------

    @staticmethod
    def fsdp_modules(module: Module, root_only: bool = False) -> list[FullyShardedDataParallel]:
        """All wrappers in a module, or the outermost."""
        found = [m for m in module.modules() if isinstance(m, FullyShardedDataParallel)]
        if not root_only:
            return found
        inner = {id(m) for f in found for m in f.module.modules()}
        return [m for m in found if id(m) not in inner]

    @staticmethod
    @contextlib.contextmanager
    def summon_full_params(
        module: Module,
        recurse: bool = True,
        writeback: bool = True,
        rank0_only: bool = False,
        offload_to_cpu: bool = False,
        with_grads: bool = False,
    ) -> Iterator[None]:
        """Parameters are whole anyway."""
        yield

    @staticmethod
    def optim_state_dict(
        model: Module, optim: Optimizer, optim_state_dict: Any = None, group: Any = None
    ) -> dict[str, Any]:
        """An optimiser's state with parameters' names for numbers, on the CPU if so chosen."""
        wrappers = FullyShardedDataParallel.fsdp_modules(model)
        to_cpu = bool(wrappers) and wrappers[0]._settings.optim_state_dict_config.offload_to_cpu
        return get_optimizer_state_dict(model, optim, options=StateDictOptions(cpu_offload=to_cpu))

    @staticmethod
    def optim_state_dict_to_load(
        model: Module,
        optim: Optimizer,
        optim_state_dict: dict[str, Any],
        is_named_optimizer: bool = False,
        load_directly: bool = False,
        group: Any = None,
    ) -> dict[str, Any]:
        """What `optim.load_state_dict` takes, from what `optim_state_dict` gave."""
        before = optim.state_dict()
        set_optimizer_state_dict(model, optim, optim_state_dict)
        made = optim.state_dict()
        if not load_directly:
            optim.load_state_dict(before)
        return made

    @staticmethod
    def set_state_dict_type(
        module: Module,
        state_dict_type: StateDictType,
        state_dict_config: StateDictConfig | None = None,
        optim_state_dict_config: OptimStateDictConfig | None = None,
    ) -> StateDictSettings:
        """Choose what `state_dict` gives; returns what was chosen before."""
        wrappers = FullyShardedDataParallel.fsdp_modules(module)
        before = wrappers[0]._settings if wrappers else StateDictSettings()
        made = StateDictSettings(
            state_dict_type,
            state_dict_config or FullStateDictConfig(),
            optim_state_dict_config or FullOptimStateDictConfig(),
        )
        for wrapper in wrappers:
            wrapper._settings = made
        return before

    @staticmethod
    def get_state_dict_type(module: Module) -> StateDictSettings:
        """What was chosen."""
        return FullyShardedDataParallel.fsdp_modules(module)[0]._settings

    @staticmethod
    @contextlib.contextmanager
    def state_dict_type(
        module: Module,
        state_dict_type: StateDictType,
        state_dict_config: StateDictConfig | None = None,
        optim_state_dict_config: OptimStateDictConfig | None = None,
    ) -> Iterator[None]:
        """`set_state_dict_type` for a while."""
        before = FullyShardedDataParallel.set_state_dict_type(
            module, state_dict_type, state_dict_config, optim_state_dict_config
        )
        try:
            yield
        finally:
            for wrapper in FullyShardedDataParallel.fsdp_modules(module):
                wrapper._settings = before


def _with_wrapped_names(state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Before loading: bare names become those that the wrapped module looks for."""
    for name in [n for n in state if n.startswith(prefix)]:
        inner = name[len(prefix) :]
        if not inner.startswith(f"{WRAPPED}."):
            state[f"{prefix}{WRAPPED}.{inner}"] = state.pop(name)
