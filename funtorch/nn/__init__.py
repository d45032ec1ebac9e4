"""torch.nn: modules. Layers hold state; the mathematics is in the ops."""

from funtorch.nn import attention, functional, init, utils
from funtorch.nn.cells import *
from funtorch.nn.containers import *
from funtorch.nn.conv import *
from funtorch.nn.layers import *
from funtorch.nn.lazy import *
from funtorch.nn.loss import *
from funtorch.nn.loss_layers import *
from funtorch.nn.module import Module
from funtorch.nn.norm import *
from funtorch.nn.padding import *
from funtorch.nn.parameter import Buffer, Parameter
from funtorch.nn.rnn import GRU, LSTM, RNN, RNNBase
from funtorch.nn.simple import *
from funtorch.nn.transformer import (
    MultiheadAttention,
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from funtorch.nn.vision import *

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Buffer",
    "Module",
    "Parameter",
    "RNNBase",
    "attention",
    "functional",
    "init",
    "utils",
]
