"""Dropout and its family: noise drawn on the host, applied by one recorded op."""

from __future__ import annotations

import math
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch import dtypes
from funtorch.dispatch import to_host
from funtorch.ops import keyed
from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops._draw import drawn, kind_of
from funtorch.random import sampling
from funtorch.random.generator import Generator
from funtorch.tensor import Tensor, dtype_of, size_of, strides_of
from funtorch.views import check_writable, overwrite


@op(function=False, saves=("mask",), grad_name="MulBackward0", layout="pointwise")
def _dropped(self: Array, mask: Array, keep: Scalar) -> Array:
    """Elements times mask / keep. self: [...], mask: bool, broadcastable -> [...]"""
    keep = jnp.asarray(keep).astype(self.dtype)
    return self * (mask.astype(self.dtype) / keep)


@op(function=False, saves=("mask",), grad_name="AddBackward0", layout="pointwise")
def _alpha_dropped(self: Array, mask: Array, p: Scalar) -> Array:
    """Keeps mean and variance of SELU's outputs. self: [...], mask: bool -> [...]"""
    p = jnp.asarray(p).astype(jnp.float64)
    scale = 1 / jnp.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    noise = mask.astype(self.dtype)
    shift = (noise - 1) * (_ALPHA * scale).astype(self.dtype)
    shift = shift + (_ALPHA * scale * p).astype(self.dtype)
    return self * (noise * scale.astype(self.dtype)) + shift


@op(function=False, saves=(), grad_name="MulBackward0", layout="pointwise")
def _dropped_all(self: Array) -> Array:
    """Zero where finite, NaN elsewhere, as a product with zero. [...] -> [...]"""
    return self * jnp.zeros((), self.dtype)


_ALPHA = 1.7580993408473766  # what SELU tends to for large negative inputs, negated


def _mask(self: Tensor, shape: tuple[int, ...], keep: float, stride: Any = None) -> Tensor:
    """True with probability `keep`. -> bool [*shape]"""

    def draw(engine: Any, count: int) -> Any:
        return sampling.below(engine, count, keep)

    def in_program(key: Tensor, size: Any) -> Tensor:
        return keyed._key_bernoulli(key, size, keep, dtypes.bool_)

    return drawn(shape, self._value.aval.place, None, draw, in_program, np.bool_, stride)


def _check(p: float) -> float:
    p = float(p)
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")
    return p


def _check_type(self: Tensor) -> None:
    kind = dtype_of(self)
    if not (kind.is_floating_point or kind.is_complex):
        raise RuntimeError(
            f"result type Float can't be cast to the desired output type {kind_of(self)}"
        )


def _drop(self: Tensor, p: float, train: bool, *, feature: bool, alpha: bool) -> Tensor:
    p = _check(p)
    if p == 0 or not train or not self.numel():
        return self
    if p == 1:
        return _dropped_all(self)
    shape, stride = size_of(self), self._stride
    if feature:
        if len(shape) < 2:
            raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
        shape, stride = (*shape[:2], *[1] * (len(shape) - 2)), None
    _check_type(self)
    mask = _mask(self, shape, 1 - p, None if stride is None else _dense_order(self))
    made = _alpha_dropped(self, mask, p) if alpha else _dropped(self, mask, 1 - p)
    if not feature and stride is not None:
        made._stride = made._storage.layout = mask._stride
    return made


def _dense_order(self: Tensor) -> Any:
    """Strides of noise made in the likeness of a tensor."""
    return self.clone().stride() if self._stride is not None else strides_of(self)


@composite()
def dropout(self: Tensor, p: float, train: bool) -> Tensor:
    """Zeroes elements with probability p and scales the others up. [...] -> [...]"""
    return _drop(self, p, train, feature=False, alpha=False)


@composite()
def feature_dropout(self: Tensor, p: float, train: bool) -> Tensor:
    """Zeroes whole channels. [N, C, ...] -> the same"""
    return _drop(self, p, train, feature=True, alpha=False)


@composite()
def alpha_dropout(self: Tensor, p: float, train: bool) -> Tensor:
    """Sets elements to SELU's negative limit, keeping mean and variance. [...] -> [...]"""
    return _drop(self, p, train, feature=False, alpha=True)


@composite()
def feature_alpha_dropout(self: Tensor, p: float, train: bool) -> Tensor:
    """`alpha_dropout` of whole channels. [N, C, ...] -> the same"""
    return _drop(self, p, train, feature=True, alpha=True)


def _in_place(name: str, feature: bool, alpha: bool) -> Any:
    def function(self: Tensor, p: float, train: bool) -> Tensor:
        made = _drop(self, p, train, feature=feature, alpha=alpha)
        if made is self:
            return self
        check_writable(self)
        return overwrite(self, made)

    function.__name__ = name
    function.__doc__ = f"`{name.removesuffix('_')}` in place."
    return composite()(function)


dropout_ = _in_place("dropout_", feature=False, alpha=False)
feature_dropout_ = _in_place("feature_dropout_", feature=True, alpha=False)
alpha_dropout_ = _in_place("alpha_dropout_", feature=False, alpha=True)
feature_alpha_dropout_ = _in_place("feature_alpha_dropout_", feature=True, alpha=True)


@composite()
def native_dropout(self: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """(result, mask of what was kept). [...] -> [...], bool [...]"""
    p = float(p)
    if not train and train is not None:
        return self.clone(), self.new_ones(size_of(self), dtype=dtypes.bool_)
    mask = _mask(self, size_of(self), 1 - p)
    return (_dropped(self, mask, 1 - p) if p < 1 else _dropped_all(self)), mask


# nn.functional --------------------------------------------------------------------------------


def _functional(
    kind: Any, changed: Any, p: float, inplace: bool, input: Tensor, training: bool
) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    return (changed if inplace else kind)(input, p, training)


@composite(name="_functional_dropout", aliases=("functional.dropout",), function=False)
def functional_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes elements with probability p and scales the others up. [...] -> [...]"""
    return _functional(dropout, dropout_, p, inplace, input, training)


@composite(name="_functional_alpha_dropout", aliases=("functional.alpha_dropout",), function=False)
def functional_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Sets elements to SELU's negative limit, keeping mean and variance. [...] -> [...]"""
    return _functional(alpha_dropout, alpha_dropout_, p, inplace, input, training)


@composite(
    name="_functional_feature_alpha_dropout",
    aliases=("functional.feature_alpha_dropout",),
    function=False,
)
def functional_feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`alpha_dropout` of whole channels. [N, C, ...] -> the same"""
    return _functional(feature_alpha_dropout, feature_alpha_dropout_, p, inplace, input, training)


@composite("functional", function=False)
def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels. [N, C, L] or [C, L] -> the same"""
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D "
            "input: it drops channels of inputs with one spatial dimension"
        )
    return _channels(input, p, training, inplace, batched=input.ndim == 3)


@composite("functional", function=False)
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels. [N, C, H, W] -> the same"""
    if input.ndim not in (3, 4):
        _warn_rank("dropout2d", input.ndim, 2, "3D or 4D")
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout "
            "behavior is desired - input is interpreted as shape (N, C, L), where C is the channel "
            "dim, not as (C, H, W) without a batch. Use dropout1d for that.",
            stacklevel=3,
        )
    return _channels(input, p, training, inplace, batched=True)


@composite("functional", function=False)
def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels. [N, C, D, H, W] or [C, D, H, W] -> the same"""
    if input.ndim not in (4, 5):
        _warn_rank("dropout3d", input.ndim, 3, "4D or 5D")
    return _channels(input, p, training, inplace, batched=input.ndim != 4)


def _warn_rank(name: str, rank: int, spatial: int, wanted: str) -> None:
    warnings.warn(
        f"{name}: Received a {rank}-D input to {name}, which is deprecated and will result in an "
        f"error in a future release. To retain the behavior and silence this warning, please use "
        f"dropout instead. {name} drops whole channels of inputs with {spatial} spatial "
        f"dimensions, a channel dimension, and maybe a batch dimension (i.e. {wanted} inputs).",
        stacklevel=4,
    )


def _channels(input: Tensor, p: float, training: bool, inplace: bool, *, batched: bool) -> Tensor:
    if batched:
        return _functional(feature_dropout, feature_dropout_, p, inplace, input, training)
    if inplace:
        _functional(feature_dropout, feature_dropout_, p, True, input.unsqueeze(0), training)
        return input
    made = _functional(feature_dropout, feature_dropout_, p, False, input.unsqueeze(0), training)
    return made.squeeze(0)


# rrelu ----------------------------------------------------------------------------------------


@op(function=False, saves=("self", "noise"), grad_name="RreluWithNoiseBackward0")
def _rrelu_with_noise(self: Array, noise: Array) -> Array:
    """self where positive, self * noise elsewhere. self, noise: [...] -> [...]"""
    return jnp.where(self <= 0, self * noise, self)


@op(function=False, saves=("self",), grad_name="LeakyReluBackward0")
def _rrelu_mean(self: Array, slope: Scalar) -> Array:
    """self where positive, self * slope elsewhere. [...] -> [...]"""
    return jnp.where(self > 0, self, self * jnp.asarray(slope).astype(self.dtype))


@composite()
def rrelu(
    self: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Leaky ReLU; in training with random slopes from [lower, upper]. [...] -> [...]"""
    if not math.isfinite(lower) or not math.isfinite(upper):
        raise RuntimeError(f"rrelu: lower and upper bounds must be finite, got {lower}, {upper}")
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return _rrelu_mean(self, (lower + upper) / 2)
    return _rrelu_with_noise(self, _slopes(self, lower, upper, generator))


def _slopes(self: Tensor, lower: float, upper: float, generator: Any) -> Tensor:
    """One slope for each element that is not positive; the others draw nothing.

    Under a transformation, where nobody knows which these are, each element has one.
    """
    kind = dtype_of(self)
    own = self.detach()

    def draw(engine: Any, count: int) -> Any:
        trace = own._value.trace
        if trace is not None and trace.functional:
            return sampling.uniform(engine, count, np.float64, lower, upper).astype(kind.numpy)
        low = np.asarray(to_host(own), np.float64).reshape(-1) <= 0
        slopes = np.ones(count, kind.numpy)
        drawn_count = int(low.sum())
        slopes[low] = sampling.uniform(engine, drawn_count, np.float64, lower, upper)
        return slopes

    def in_program(key: Tensor, size: Any) -> Tensor:
        return keyed._key_uniform(key, size, lower, upper, kind)

    return drawn(size_of(self), self._value.aval.place, generator, draw, in_program, kind.numpy)


@composite()
def rrelu_(
    self: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`rrelu` in place."""
    made = rrelu(self, lower, upper, training, generator)
    check_writable(self)
    return overwrite(self, made)


@composite(name="_functional_rrelu", aliases=("functional.rrelu",), function=False)
def functional_rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Leaky ReLU; in training with random slopes from [lower, upper]. [...] -> [...]"""
    return (rrelu_ if inplace else rrelu)(input, lower, upper, training)


@composite(name="_functional_rrelu_", aliases=("functional.rrelu_",), function=False)
def functional_rrelu_(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Tensor:
    """`rrelu` in place."""
    return rrelu_(input, lower, upper, training)
