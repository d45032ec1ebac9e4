"""torch.nn: modules. Layers hold state; the mathematics is in the ops."""

from funtorch.nn import functional, init
from funtorch.nn.containers import *  # noqa: F403
from funtorch.nn.conv import *  # noqa: F403
from funtorch.nn.layers import *  # noqa: F403
from funtorch.nn.loss import *  # noqa: F403
from funtorch.nn.module import Module
from funtorch.nn.norm import *  # noqa: F403
from funtorch.nn.padding import *  # noqa: F403
from funtorch.nn.parameter import Buffer, Parameter
from funtorch.nn.simple import *  # noqa: F403
from funtorch.nn import utils  # noqa: E402,I001

__all__ = ["Buffer", "Module", "Parameter", "functional", "init", "utils"]
