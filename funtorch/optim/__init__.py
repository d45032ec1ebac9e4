"""torch.optim: a step over any number of parameters is one recorded op per group."""

from funtorch.optim import lr_scheduler
from funtorch.optim.adadelta import Adadelta
from funtorch.optim.adam import Adam, AdamW
from funtorch.optim.lbfgs import LBFGS
from funtorch.optim.optimizer import Optimizer
from funtorch.optim.rmsprop import RMSprop
from funtorch.optim.sgd import SGD

__all__ = ["LBFGS", "SGD", "Adadelta", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
