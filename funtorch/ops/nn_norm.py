"""Normalisation layers' mathematics."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.grad_mode import no_grad
from funtorch.lowering import platform
from funtorch.ops._channels import from_rows, means, rows, spread
from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops._orders import by_channels
from funtorch.tensor import Tensor, size_of

Ints = Any


def _across(x: Array, vector: Array | None) -> Array | None:
    """A vector per channel, shaped to go with [N, C, ...]."""
    return None if vector is None else vector.reshape((1, -1) + (1,) * (x.ndim - 2))


def _affine(x: Array, weight: Array | None, bias: Array | None) -> Array:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _standardised(y: Array, eps: float, axis: int) -> tuple[Array, Array, Array]:
    """(channels of mean 0 and variance 1, means, biased variances). -> like y, [C], [C]"""
    mean = means(y, axis)
    centred = y - spread(mean, y.shape, axis)
    var = means(jnp.square(centred), axis)
    return centred * spread(lax.rsqrt(var + eps), y.shape, axis), mean, var


@_standardised.defjvp
def _standardised_jvp(eps: float, axis: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    # As in the paper (Ioffe and Szegedy 2015, section 3), with the terms that are zero left out.
    (y,), (dy,) = primals, tangents
    out, mean, var = _standardised(y, eps, axis)
    scale = lax.rsqrt(var + eps)
    d_mean, slope = means(dy, axis), means(dy * out, axis)
    centred = dy - spread(d_mean, y.shape, axis) - out * spread(slope, y.shape, axis)
    d_out = centred * spread(scale, y.shape, axis)
    return (out, mean, var), (d_out, d_mean, 2 * slope / scale)


@op(function=False, grad_name="NativeBatchNormBackward0", order=by_channels(4, 5))
def _batch_norm_train(
    self: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """(normalised, mean, biased variance) by the batch. [N, C, ...] -> [N, C, ...], [C], [C]

    No gradients go through the statistics.
    """
    x = self.astype(jnp.promote_types(self.dtype, jnp.float32))
    flat = platform() == "cpu"
    y, axis = (rows(x), -1) if flat else (x, 1)
    y, mean, var = _standardised(y, eps, axis)
    y = _affine(y, *(None if v is None else spread(v, y.shape, axis) for v in (weight, bias)))
    out = (from_rows(y, self.shape) if flat else y).astype(self.dtype)
    return out, lax.stop_gradient(mean), lax.stop_gradient(var)


@op(function=False, grad_name="NativeBatchNormBackward0", order=by_channels(4, 5))
def _batch_norm_eval(
    self: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> Array:
    scale = lax.rsqrt(running_var + eps)
    out = (self - _across(self, running_mean)) * _across(self, scale)
    return _affine(out, _across(self, weight), _across(self, bias)).astype(self.dtype)


@op(function=False, differentiable=False)
def _updated(self: Array, new: Array, momentum: Array | Scalar, count: int) -> Array:
    """A running statistic moved towards the batch's. [C], [C] -> [C]

    count: how many elements the variance `new` is of; 0 for a mean. Symbolic under export.
    """
    factor: Array | float
    if isinstance(count, int):
        factor = count / max(count - 1, 1) if count else 1.0
    else:
        n = jnp.asarray(count).astype(new.dtype)
        factor = n / jnp.maximum(n - 1, 1)
    return (self * (1 - momentum) + new * (momentum * factor)).astype(self.dtype)


@composite("functional", function=False)
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalised over batch and space; in training the running statistics move. [N, C, ...]"""
    shape = size_of(input)
    if 0 in shape:
        return input.clone()  # whatever its rank; the statistics stay
    if len(shape) < 2:
        raise RuntimeError(f"batch_norm expects at least 2 dimensions, got {list(shape)}")
    _check_channels(
        shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when training=False"
            )
        return _batch_norm_eval(input, running_mean, running_var, weight, bias, eps)
    if eps <= 0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    count = int(np.prod(shape)) // max(shape[1], 1)
    if count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    out, mean, var = _batch_norm_train(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with no_grad():
            running_mean._replace(_updated(running_mean, mean, momentum, 0))
            running_var._replace(_updated(running_var, var, momentum, count))
    return out


def _check_channels(channels: int, **vectors: Tensor | None) -> None:
    for name, vector in vectors.items():
        if vector is not None and vector.numel() != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {vector.numel()}")


@op("functional", saves=("self", "weight", "bias"), grad_name="NativeLayerNormBackward0")
def layer_norm(
    self: Array,
    normalized_shape: Ints,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Array:
    """Normalised over the last dimensions. [..., *normalized_shape] -> the same"""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    if not shape or self.shape[-len(shape) :] != tuple(shape):
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size{list(self.shape)}"
        )
    axes = tuple(range(self.ndim - len(shape), self.ndim))
    x = self.astype(jnp.promote_types(self.dtype, jnp.float32))
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    var = jnp.square(centred).mean(axes, keepdims=True)
    return _affine(centred * lax.rsqrt(var + eps), weight, bias).astype(self.dtype)


@op("functional", saves=("self", "weight"))
def rms_norm(
    self: Array, normalized_shape: Ints, weight: Array | None = None, eps: float | None = None
) -> Array:
    """Divided by the root mean square of the last dimensions. [...] -> [...]"""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    if self.shape[-len(shape) :] != tuple(shape):
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size{list(self.shape)}"
        )
    axes = tuple(range(self.ndim - len(shape), self.ndim))
    tiny = float(jnp.finfo(self.dtype).eps) if eps is None else eps
    x = self.astype(jnp.promote_types(self.dtype, jnp.float32))
    scale = lax.rsqrt(jnp.square(x).mean(axes, keepdims=True) + tiny)
    return _affine(x * scale, weight, None).astype(self.dtype)


@op(
    "functional",
    saves=("self", "weight", "bias"),
    grad_name="NativeGroupNormBackward0",
    order=by_channels(4, 5),
)
def group_norm(
    self: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Normalised over groups of channels and space. [N, C, ...] -> [N, C, ...]"""
    if self.ndim < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {self.ndim}"
        )
    if self.shape[1] % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(self.shape)} and num_groups={num_groups}"
        )
    rest = int(np.prod(self.shape[1:])) // num_groups
    x = self.reshape(self.shape[0], num_groups, rest)
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    out = ((x - mean) * lax.rsqrt(var + eps)).reshape(self.shape)
    return _affine(out, _across(self, weight), _across(self, bias))


@op(function=False, grad_name="NativeBatchNormBackward0")
def _instance_norm(
    self: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    axes = tuple(range(2, self.ndim))
    mean = self.mean(axes, keepdims=True)
    var = jnp.square(self - mean).mean(axes, keepdims=True)
    out = (self - mean) * lax.rsqrt(var + eps)
    out = _affine(out, _across(self, weight), _across(self, bias))
    flat = self.shape[:2]
    return (
        out,
        lax.stop_gradient(mean.reshape(flat).mean(0)),
        lax.stop_gradient(var.reshape(flat).mean(0)),
    )


@composite("functional", function=False)
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalised over space, per image and channel. [N, C, ...] -> [N, C, ...]"""
    if not use_input_stats:
        return _batch_norm_eval(input, running_mean, running_var, weight, bias, eps)
    space = int(np.prod(size_of(input)[2:]))
    if space == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    out, mean, var = _instance_norm(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with no_grad():
            running_mean._replace(_updated(running_mean, mean, momentum, 0))
            running_var._replace(_updated(running_var, var, momentum, space))
    return out


@op("functional", function=False, layout="pointwise")
def local_response_norm(
    self: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Divided by a power of the mean square of neighbouring channels. [N, C, ...]"""
    if self.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {self.ndim} dimensions)")
    around = [(0, 0)] * self.ndim
    around[1] = (size // 2, (size - 1) // 2)
    window = [1] * self.ndim
    window[1] = size
    squares = lax.reduce_window(
        self * self, np.array(0, self.dtype), lax.add, window, (1,) * self.ndim, around
    )
    return self / (squares * (alpha / size) + k) ** beta


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3, 4))
def _cross_map(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    return x * _cross_map_scale(x, size, alpha, k) ** -beta


def _cross_map_scale(x: Array, size: int, alpha: float, k: float) -> Array:
    reach, i = (size - 1) // 2 + 1, np.arange(x.shape[1])
    # PyTorch's running sum never lets go of channel 0.
    near = (i <= i[:, None] + reach - 1) & ~((i >= 1) & (i <= i[:, None] - reach))
    return _over_channels(near, jnp.square(x)) * (alpha / size) + k


def _over_channels(near: np.ndarray[Any, Any], x: Array) -> Array:
    return jnp.einsum("dc,nchw->ndhw", near.astype(x.dtype), x)


@_cross_map.defjvp
def _cross_map_jvp(size, alpha, beta, k, primals, tangents):  # type: ignore[no-untyped-def]
    """PyTorch's backward is not the derivative: its window lies otherwise than forward's."""
    (x,), (dx,) = primals, tangents
    scale = _cross_map_scale(x, size, alpha, k)
    out = x * scale**-beta
    first, i = int(size - (size - 1) / 2), np.arange(x.shape[1])
    near = (i >= i[:, None] - first) & (i < i[:, None] - first + size)  # [of input, of output]
    ratio = _over_channels(near.T, x * dx) * (out / scale)
    return out, dx * scale**-beta - (2 * alpha * beta / size) * ratio


@op(function=False)
def _cross_map_lrn2d(self: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Local response normalisation as `nn.CrossMapLRN2d` computes it. [N, C, H, W]"""
    return _cross_map(self, size, alpha, beta, k)


@composite("functional", function=False, out="cast")
def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """Vectors along a dimension divided by their p-norm. [...] -> [...]"""
    return input / input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
