"""Pooling over windows, or over everything."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.nn import functional
from funtorch.onnx.convolution import pads_for
from funtorch.onnx.rules import Array, ints, kernel, rule
from funtorch.tensor import Tensor


def _windows(
    x: Tensor,
    auto_pad: str,
    ceil_mode: int,
    kernel_shape: Any,
    strides: Any,
    dilations: Any,
    pads: Any,
) -> dict[str, Any]:
    """Strides, dilations, borders and output extents of a pooling."""
    n = len(kernel_shape)
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    widths = pads_for(auto_pad, x.shape[2:], kernel_shape, strides, dilations, pads)
    out = []
    for i, (before, after) in enumerate(widths):
        reach = (kernel_shape[i] - 1) * dilations[i] + 1
        room = x.shape[2 + i] + before + after - reach
        count = (-(-room // strides[i]) if ceil_mode else room // strides[i]) + 1
        # A window has to begin within the input or its left border.
        if ceil_mode and (count - 1) * strides[i] >= x.shape[2 + i] + before:
            count -= 1
        out.append(count)
    return {
        "size": tuple(kernel_shape), "strides": tuple(strides), "dilations": tuple(dilations),
        "widths": tuple(widths), "out": tuple(out),
    }  # fmt: skip


def _named(size: Any, strides: Any, dilations: Any, widths: Any, out: Any) -> dict[str, Any]:
    return {
        "size": size,
        "strides": strides,
        "dilations": dilations,
        "widths": widths,
        "out": out,
    }


def _borders(x: Any, size: Any, strides: Any, dilations: Any, widths: Any, out: Any) -> list[Any]:
    """Borders such that exactly `out` windows fit; they may crop at the end."""
    borders = [(0, 0), (0, 0)]
    for i, (before, _) in enumerate(widths):
        needed = (out[i] - 1) * strides[i] + (size[i] - 1) * dilations[i] + 1
        borders.append((before, needed - before - x.shape[2 + i]))
    return borders


def _reduce(x: Array, init: Any, fn: Any, w: dict[str, Any]) -> Array:
    borders = _borders(x, **w)
    crop = tuple(slice(0, x.shape[i] + min(b, 0)) for i, (_, b) in enumerate(borders))
    grown = [(a, max(b, 0)) for a, b in borders]
    return lax.reduce_window(
        x[crop],
        np.asarray(init, x.dtype)[()],
        fn,
        (1, 1, *w["size"]),
        (1, 1, *w["strides"]),
        grown,
        window_dilation=(1, 1, *w["dilations"]),
    )


@rule("AveragePool")
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Mean of each window."""
    w = _windows(x, auto_pad, ceil_mode, kernel_shape, strides, dilations, pads)
    return _average(x, **w, count_pad=bool(count_include_pad))


@kernel
def _average(
    x: Array,
    *,
    size: tuple,
    strides: tuple,
    dilations: tuple,
    widths: tuple,
    out: tuple,
    count_pad: bool,
) -> Array:
    w = _named(size, strides, dilations, widths, out)
    ones = np.ones((1, 1, *x.shape[2:]), np.float32)
    if count_pad:
        # The declared border counts; what ceil_mode adds beyond it does not.
        ones = np.pad(ones, [(0, 0), (0, 0), *widths], constant_values=1)
        counted = dict(w, widths=((0, 0),) * len(widths))
    else:
        counted = w
    count = _reduce(jnp.asarray(ones), 0, lax.add, counted)
    return (_reduce(x, 0, lax.add, w) / count).astype(x.dtype)


@rule("LpPool")
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = None,
    p: float = 2,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """p-norm of each window."""
    w = _windows(x, auto_pad, ceil_mode, kernel_shape, strides, dilations, pads)
    return _power_mean(x, **w, p=float(p))


@kernel
def _power_mean(
    x: Array,
    *,
    size: tuple,
    strides: tuple,
    dilations: tuple,
    widths: tuple,
    out: tuple,
    p: float,
) -> Array:
    w = _named(size, strides, dilations, widths, out)
    return (_reduce(jnp.abs(x) ** p, 0, lax.add, w) ** (1 / p)).astype(x.dtype)


_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


@rule("MaxPool")
def max_pool(
    x: Tensor,
    *,
    ctx: Any,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = None,
    pads: Any = None,
    storage_order: int = 0,
    strides: Any = None,
) -> Any:
    """Greatest of each window, and where in the whole tensor it is if that is wanted."""
    w = _windows(x, auto_pad, ceil_mode, kernel_shape, strides, dilations, pads)
    if len(ctx.outputs) > 1:
        return _max_and_index(x, **w, columns=bool(storage_order))
    n, half = len(kernel_shape), [k // 2 for k in kernel_shape]
    even = all(a == b <= h for (a, b), h in zip(w["widths"], half, strict=True))
    if even and not ceil_mode and n in _MAX_POOL and x.is_floating_point():
        padding = tuple(a for a, _ in w["widths"])
        return _MAX_POOL[n](x, w["size"], w["strides"], padding, w["dilations"])
    return _max(x, **w)


@kernel
def _max(
    x: Array, *, size: tuple, strides: tuple, dilations: tuple, widths: tuple, out: tuple
) -> Array:
    w = _named(size, strides, dilations, widths, out)
    least = -np.inf if x.dtype.kind in "fV" else np.iinfo(x.dtype).min
    return _reduce(x, least, lax.max, w)


@kernel
def _max_and_index(
    x: Array,
    *,
    size: tuple,
    strides: tuple,
    dilations: tuple,
    widths: tuple,
    out: tuple,
    columns: bool,
) -> tuple[Array, Array]:
    spatial = x.shape[2:]
    number = np.arange(int(np.prod(spatial)), dtype=np.int64)
    number = number.reshape(spatial[::-1]).T if columns else number.reshape(spatial)
    planes = np.arange(x.shape[0] * x.shape[1], dtype=np.int64).reshape(x.shape[:2])
    where = planes.reshape(*x.shape[:2], *(1,) * len(spatial)) * number.size + number
    taken = [_positions(spatial[i], size[i], strides[i], dilations[i], widths[i][0], out[i])
             for i in range(len(spatial))]  # fmt: skip
    values, places = x, jnp.asarray(where)
    inside = jnp.ones((), bool)
    for i, (index, valid) in enumerate(taken):
        axis = 2 + 2 * i
        values = jnp.take(values, index.reshape(-1), axis).reshape(
            *values.shape[:axis], *index.shape, *values.shape[axis + 1 :])  # fmt: skip
        places = jnp.take(places, index.reshape(-1), axis).reshape(values.shape)
        shape = [1] * (2 * len(spatial))
        shape[2 * i : 2 * i + 2] = index.shape
        inside = inside & valid.reshape(shape)
    least = -np.inf if x.dtype.kind in "fV" else np.iinfo(x.dtype).min
    values = jnp.where(inside, values, np.asarray(least, x.dtype))
    order = (0, 1, *range(2, values.ndim, 2), *range(3, values.ndim, 2))
    shape = (*x.shape[:2], *out, -1)
    values, places = (v.transpose(order).reshape(shape) for v in (values, places))
    best = jnp.argmax(values, -1, keepdims=True)
    return tuple(jnp.take_along_axis(v, best, -1)[..., 0] for v in (values, places))


def _positions(
    extent: int, size: int, stride: int, dilation: int, before: int, count: int
) -> tuple[Any, Any]:
    index = np.arange(count)[:, None] * stride + np.arange(size)[None] * dilation - before
    return np.clip(index, 0, extent - 1), (index >= 0) & (index < extent)


@rule("GlobalAveragePool")
@kernel
def global_average_pool(x: Array) -> Array:
    """[N, C, *S] -> [N, C, 1...]: the mean over space.

    As a product, since XLA:CPU fuses a sum into each of its readers, which then add up everything
    again and may round apart: softmax of such means was NaN in SqueezeNet.
    """
    flat = x.reshape(*x.shape[:2], -1)
    share = jnp.full(flat.shape[2], 1 / flat.shape[2], x.dtype)
    mean = jnp.einsum(
        "ncs,s->nc", flat, share, preferred_element_type=jnp.promote_types(x.dtype, jnp.float32)
    )
    return mean.astype(x.dtype).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))


@rule("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    """[N, C, *S] -> [N, C, 1...]: the maximum over space."""
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


@rule("GlobalLpPool")
@kernel
def global_lp_pool(x: Array, *, p: int = 2) -> Array:
    """[N, C, *S] -> [N, C, 1...]: the p-norm over space."""
    axes = tuple(range(2, x.ndim))
    return jnp.sum(jnp.abs(x) ** p, axes, keepdims=True) ** (1 / p)


@rule("MaxUnpool", host="output_shape")
def max_unpool(
    x: Tensor,
    index: Tensor,
    output_shape: Any = None,
    *,
    kernel_shape: Any,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Maxima put back where they came from; zero elsewhere."""
    n = len(kernel_shape)
    strides, pads = strides or (1,) * n, pads or (0,) * 2 * n
    shape = tuple(
        (x.shape[2 + i] - 1) * strides[i] + kernel_shape[i] - pads[i] - pads[i + n]
        for i in range(n)
    )
    shape = (*x.shape[:2], *shape)
    wanted = shape if output_shape is None else ints(output_shape)
    return _unpool(x, index, shape=shape, wanted=wanted)


@kernel
def _unpool(x: Array, index: Array, *, shape: tuple, wanted: tuple) -> Array:
    flat = jnp.zeros(int(np.prod(shape)), x.dtype).at[index.reshape(-1)].set(x.reshape(-1))
    return lax.pad(flat.reshape(shape), jnp.zeros((), x.dtype),
                   [(0, b - a, 0) for a, b in zip(shape, wanted, strict=True)])  # fmt: skip
