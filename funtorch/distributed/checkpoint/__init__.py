"""torch.distributed.checkpoint: `state_dict`, states of models and optimisers by parameters' names."""

from funtorch.distributed.checkpoint import state_dict

__all__ = ["state_dict"]
