"""torch.utils.tensorboard: TensorBoard's event files, written by the package tensorboardX."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch.dispatch import to_host
from funtorch.tensor import Tensor

try:
    import tensorboardX as _writers  # noqa: N813  (its own name)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "torch.utils.tensorboard needs tensorboardX: pip install funtorch[tensorboard]",
        name="tensorboardX",
    ) from error

__all__ = ["SummaryWriter"]


def _as_numpy(made: Any) -> Any:
    if isinstance(made, Tensor):
        array = to_host(made)
        return array.astype(np.float32) if array.dtype.kind == "V" else np.array(array)
    if isinstance(made, dict):
        return {key: _as_numpy(value) for key, value in made.items()}
    if isinstance(made, list | tuple):
        return type(made)(map(_as_numpy, made))
    return made


def _taking_tensors(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        values = {name: _as_numpy(value) for name, value in options.items()}
        return method(self, *map(_as_numpy, args), **values)

    return call


_ADDING = (
    "add_scalar",
    "add_scalars",
    "add_histogram",
    "add_image",
    "add_images",
    "add_figure",
    "add_text",
    "add_embedding",
    "add_pr_curve",
    "add_hparams",
    "add_audio",
    "add_video",
    "add_mesh",
    "add_image_with_boxes",
)

SummaryWriter: Any = type(
    "SummaryWriter",
    (_writers.SummaryWriter,),
    {
        "__doc__": "Writes scalars, images and so on to a folder that TensorBoard shows.",
        "__module__": __name__,
        **{
            name: _taking_tensors(getattr(_writers.SummaryWriter, name))
            for name in _ADDING
            if hasattr(_writers.SummaryWriter, name)
        },
    },
)
