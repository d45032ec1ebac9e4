"""Methods and attributes of Tensor that are no ops, by topic. Importing this fills METHODS."""

from funtorch.methods import about, gradients, legacy, memory, protocols, shorthands, values
from funtorch.methods.table import METHODS
