"""torch.utils.tensorboard.summary: the records that a writer writes."""

from tensorboardX.summary import (
    audio,
    custom_scalars,
    histogram,
    hparams,
    image,
    pr_curve,
    scalar,
    text,
    video,
)

__all__ = [
    "audio",
    "custom_scalars",
    "histogram",
    "hparams",
    "image",
    "pr_curve",
    "scalar",
    "text",
    "video",
]
