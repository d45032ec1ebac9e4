"""torch.nn.modules: the files in which PyTorch has its layers, as programs import them.

Each is a view on the files here: `torch.nn.modules.batchnorm.BatchNorm2d` is `torch.nn.BatchNorm2d`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from funtorch import nn
from funtorch.nn import (
    cells,
    containers,
    conv,
    global_hooks,
    layers,
    lazy,
    loss,
    loss_layers,
    module,
    norm,
    padding,
    rnn,
    simple,
    state,
    sync_batch_norm,
    transformer,
    vision,
)
from funtorch.nn.module import Module
from funtorch.nn.modules import utils

_FILES: dict[str, tuple[ModuleType, ...]] = {
    "activation": (simple, transformer, layers, vision),
    "adaptive": (loss_layers,),
    "batchnorm": (norm, lazy, sync_batch_norm),
    "channelshuffle": (padding,),
    "container": (containers,),
    "conv": (conv, lazy),
    "distance": (padding,),
    "dropout": (layers,),
    "flatten": (layers,),
    "fold": (vision,),
    "instancenorm": (norm, lazy),
    "lazy": (lazy,),
    "linear": (layers, lazy),
    "loss": (loss, loss_layers),
    "module": (module, global_hooks, state),
    "normalization": (norm, vision),
    "padding": (padding,),
    "pixelshuffle": (padding,),
    "pooling": (simple, vision),
    "rnn": (rnn, cells),
    "sparse": (layers, vision),
    "transformer": (transformer,),
    "upsampling": (vision,),
}


class _File(ModuleType):
    """One of PyTorch's files; its names are found in ours."""

    def __getattr__(self, name: str) -> Any:
        for place in _FILES[self.__name__.rpartition(".")[2]]:
            if name in vars(place) and not name.startswith("__"):
                return vars(place)[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name)


for _name in _FILES:
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = _File(f"{__name__}.{_name}")

_ACTIVATIONS = """Threshold ReLU RReLU Hardtanh ReLU6 Sigmoid Hardsigmoid Tanh SiLU Mish Hardswish ELU
    CELU SELU GLU GELU Hardshrink LeakyReLU LogSigmoid Softplus Softshrink MultiheadAttention PReLU
    Softsign Tanhshrink Softmin Softmax Softmax2d LogSoftmax""".split()  # noqa: SIM905
for _name in _ACTIVATIONS:  # packages that choose one by its name look through `vars`
    setattr(globals()["activation"], _name, vars(nn)[_name])

globals()["module"]._EXTRA_STATE_KEY_SUFFIX = state.EXTRA

__all__ = ["Module", "utils", *_FILES]


def __getattr__(name: str) -> Any:
    """Every layer is a name of `torch.nn.modules` too."""
    if isinstance(vars(nn).get(name), type):
        return vars(nn)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name, held in vars(nn).items() if isinstance(held, type))]
