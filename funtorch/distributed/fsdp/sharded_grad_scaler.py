"""The scaler for sharded models: with one process, GradScaler."""

from funtorch.amp import GradScaler


class ShardedGradScaler(GradScaler):
    """Scales the loss; what a step finds infinite, all processes would agree on."""
