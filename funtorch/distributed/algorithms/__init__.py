"""torch.distributed.algorithms: uneven inputs, and what may replace averaging gradients."""

from funtorch.distributed.algorithms.join import Join, Joinable, JoinHook

__all__ = ["Join", "JoinHook", "Joinable"]
