"""`save` where PyTorch has it."""

from funtorch.distributed.checkpoint.saving import save, save_state_dict

__all__ = ["save", "save_state_dict"]
