"""The scaler for sharded models: GradScaler, since gradients are averaged."""

from funtorch.amp import GradScaler


class ShardedGradScaler(GradScaler):
    """Scales the loss; what is infinite anywhere is so in the mean, for all."""
