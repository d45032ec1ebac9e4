"""torch.distributed.checkpoint: states of models and optimisers by name, and safetensors files of them."""

from funtorch.distributed.checkpoint import default_planner, hf_storage, state_dict
from funtorch.distributed.checkpoint._saving import CheckpointException, load, save
from funtorch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from funtorch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)

__all__ = [
    "CheckpointException",
    "DefaultLoadPlanner",
    "HuggingFaceStorageReader",
    "HuggingFaceStorageWriter",
    "default_planner",
    "hf_storage",
    "load",
    "save",
    "state_dict",
]
