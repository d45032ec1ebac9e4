"""torch.optim: a step over any number of parameters is one recorded op per group."""

from funtorch.optim import lr_scheduler, swa_utils
from funtorch.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from funtorch.optim.gradient_scaled import ASGD, Adadelta, Adagrad, RMSprop, Rprop
from funtorch.optim.lbfgs import LBFGS
from funtorch.optim.matrix import Adafactor, Muon
from funtorch.optim.optimizer import Optimizer
from funtorch.optim.sgd import SGD
from funtorch.optim.sparse import SparseAdam
from funtorch.optim.swapping import swap_in_optimizer_params_and_state

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
    "lr_scheduler",
    "swa_utils",
    "swap_in_optimizer_params_and_state",
]


def __dir__() -> list[str]:
    """The public names. The files that optimisers come from are no part of PyTorch's interface."""
    return [*__all__]
