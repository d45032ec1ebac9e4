"""torch.distributed.fsdp: models that processes train together. Parameters stay whole."""

from funtorch.distributed.fsdp import fully_sharded_data_parallel, sharded_grad_scaler, wrap
from funtorch.distributed.fsdp.fully_shard import FSDPModule, fully_shard
from funtorch.distributed.fsdp.fully_sharded_data_parallel import FullyShardedDataParallel
from funtorch.distributed.fsdp.options import (
    BackwardPrefetch,
    CPUOffload,
    CPUOffloadPolicy,
    FullOptimStateDictConfig,
    FullStateDictConfig,
    LocalOptimStateDictConfig,
    LocalStateDictConfig,
    MixedPrecision,
    MixedPrecisionPolicy,
    OffloadPolicy,
    OptimStateDictConfig,
    ShardedOptimStateDictConfig,
    ShardedStateDictConfig,
    ShardingStrategy,
    StateDictConfig,
    StateDictSettings,
    StateDictType,
)
