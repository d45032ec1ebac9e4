"""`load` where PyTorch has it."""

from funtorch.distributed.checkpoint.saving import load, load_state_dict

__all__ = ["load", "load_state_dict"]
