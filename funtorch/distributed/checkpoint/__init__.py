"""torch.distributed.checkpoint: states of several processes in a folder, in PyTorch's format."""

from funtorch.distributed.checkpoint import (
    default_planner,
    filesystem,
    hf_storage,
    metadata,
    state_dict,
    state_dict_loader,
    state_dict_saver,
)
from funtorch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from funtorch.distributed.checkpoint.filesystem import (
    FileSystemReader,
    FileSystemWriter,
    StorageReader,
    StorageWriter,
)
from funtorch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from funtorch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    TensorStorageMetadata,
)
from funtorch.distributed.checkpoint.saving import (
    CheckpointException,
    load,
    load_state_dict,
    save,
    save_state_dict,
)

__all__ = [
    "BytesStorageMetadata",
    "CheckpointException",
    "ChunkStorageMetadata",
    "DefaultLoadPlanner",
    "DefaultSavePlanner",
    "FileSystemReader",
    "FileSystemWriter",
    "HuggingFaceStorageReader",
    "HuggingFaceStorageWriter",
    "Metadata",
    "StorageReader",
    "StorageWriter",
    "TensorStorageMetadata",
    "default_planner",
    "filesystem",
    "hf_storage",
    "load",
    "load_state_dict",
    "metadata",
    "save",
    "save_state_dict",
    "state_dict",
    "state_dict_loader",
    "state_dict_saver",
]
