"""Modules of every kind, exported with a symbolic batch, at another batch than the example's."""

import numpy as np
import pytest

import funtorch as torch
from funtorch.export import Dim

nn = torch.nn
_random = np.random.default_rng(0)


def f(*shape):
    return _random.normal(size=shape).astype("float32")


def unit(*shape):
    return _random.random(size=shape).astype("float32")


def whole(*shape):
    return _random.integers(0, 4, shape)


MODULES = {
    "Bilinear": (lambda: nn.Bilinear(3, 4, 2), [f(3, 3), f(3, 4)]),
    "Conv2d": (lambda: nn.Conv2d(4, 4, 3, groups=2, stride=2), [f(3, 4, 9, 9)]),
    "Conv3d": (lambda: nn.Conv3d(2, 3, 2), [f(3, 2, 5, 5, 5)]),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 4, 3, stride=2), [f(3, 2, 5, 5)]),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), [f(3, 4, 5)]),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4), [f(3, 4, 5, 5)]),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), [f(3, 4, 5, 5)]),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), [f(3, 2, 9, 9)]),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(2), [f(3, 2, 8, 8)]),
    "Embedding": (lambda: nn.Embedding(10, 4), [whole(3, 5)]),
    "GRU": (lambda: nn.GRU(4, 5, batch_first=True), [f(3, 6, 4)]),
    "LSTMCell": (lambda: nn.LSTMCell(4, 5), [f(3, 4)]),
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        [f(3, 5, 8), f(3, 5, 8), f(3, 5, 8)],
    ),
    "TransformerDecoderLayer": (
        lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        [f(3, 5, 8), f(3, 4, 8)],
    ),
    "PReLU": (nn.PReLU, [f(3, 4)]),
    "GLU": (nn.GLU, [f(3, 4)]),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 2)), [f(3, 4, 5)]),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), [f(3, 4, 5, 5)]),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d(1), [f(3, 4, 5, 5)]),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, [f(3, 4), whole(3)]),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss, [f(3, 4), unit(3, 4)]),
    "TripletMarginLoss": (nn.TripletMarginLoss, [f(3, 4), f(3, 4), f(3, 4)]),
}


def flat(result):
    if isinstance(result, torch.Tensor):
        return [result.detach().numpy()]
    return [leaf for part in result or () for leaf in flat(part)]


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    make, arrays = MODULES[name]
    torch.manual_seed(0)
    module = make().eval()
    batch = {0: Dim("batch", min=1, max=100)}
    args = tuple(torch.from_numpy(a) for a in arrays)
    program = torch.export.export(module, args, dynamic_shapes=tuple(batch for _ in args))
    larger = [torch.cat([a, a[:2]]) for a in args]
    for ours, theirs in zip(flat(program.module()(*larger)), flat(module(*larger)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
