"""Convolutions of one to three dimensions. ONNX's channels stand second, TensorFlow's CPU wants them last."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from funtorch.onnx.convolution import pads_for
from funtorch.tensorflow.emission import extents, rule

_CONV = {1: tf.nn.conv1d, 2: tf.nn.conv2d, 3: tf.nn.conv3d}
_TRANSPOSE = {1: tf.nn.conv1d_transpose, 2: tf.nn.conv2d_transpose, 3: tf.nn.conv3d_transpose}


def channels_last(x: Any) -> Any:
    """[N, C, *S] -> [N, *S, C]"""
    return tf.transpose(x, (0, *range(2, x.shape.rank), 1))


def channels_first(x: Any) -> Any:
    """[N, *S, C] -> [N, C, *S]"""
    return tf.transpose(x, (0, x.shape.rank - 1, *range(1, x.shape.rank - 1)))


def bordered(x: Any, widths: Any, value: Any = 0) -> Any:
    """x, channels last, with a border around its space; negative widths crop."""
    if any(before < 0 or after < 0 for before, after in widths):
        cut = [slice(max(-a, 0), -max(-b, 0) or None) for a, b in widths]
        x = x[(slice(None), *cut)]
        widths = [(max(a, 0), max(b, 0)) for a, b in widths]
    if not any(before or after for before, after in widths):
        return x
    return tf.pad(x, [(0, 0), *widths, (0, 0)], constant_values=value)


def _dense(x: Any, filters: Any, strides: Any, padding: str, dilations: Any) -> Any:
    """One call of TensorFlow's. x: [N, *S, C], filters: [*K, C / groups, M]"""
    n = x.shape.rank - 2
    wide = [*strides] if n < 3 else [1, *strides, 1]
    spread = [*dilations] if n < 3 else [1, *dilations, 1]
    return _CONV[n](x, filters, wide, padding, dilations=spread)


def _depthwise(x: Any, w: Any, strides: Any, padding: str, dilations: Any) -> Any:
    """One filter or several for each channel. w: [C m, 1, K, K]"""
    channels = x.shape[-1]
    filters = tf.reshape(w, (channels, -1, *w.shape[2:]))
    filters = tf.transpose(filters, (2, 3, 0, 1))
    return tf.nn.depthwise_conv2d(x, filters, (1, *strides, 1), padding, dilations=dilations)


@rule("Conv")
def conv(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Convolution. x: [N, C, *S], w: [M, C / group, *K], b: [M] -> [N, M, *S']"""
    n = x.shape.rank - 2
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    rows, padding = channels_last(x), "VALID"
    if auto_pad == "SAME_UPPER" and None in x.shape[2:]:
        padding = "SAME"
    else:
        kernel = tuple(w.shape[2:])
        rows = bordered(rows, pads_for(auto_pad, x.shape[2:], kernel, strides, dilations, pads))
    one_each = n == 2 and group == x.shape[1] > 1 and strides[0] == strides[1]
    if one_each and (max(strides) == 1 or max(dilations) == 1):
        made = _depthwise(rows, w, strides, padding, dilations)
    else:
        filters = tf.transpose(w, (*range(2, n + 2), 1, 0))
        if _without_gradients(x):
            filters, dilations = _spread(filters, dilations), (1,) * n
        made = _grouped(rows, filters, strides, padding, dilations, group)
    return channels_first(made if b is None else tf.nn.bias_add(made, b))


def _grouped(x: Any, w: Any, strides: Any, padding: str, dilations: Any, group: int) -> Any:
    sees_groups = w.shape.rank == 4 and not _without_gradients(x)
    if group == 1 or sees_groups:
        return _dense(x, w, strides, padding, dilations)
    parts = zip(tf.split(x, group, -1), tf.split(w, group, -1), strict=True)
    return tf.concat([_dense(a, f, strides, padding, dilations) for a, f in parts], -1)


def _without_gradients(x: Any) -> bool:
    """TensorFlow's CPU kernels of this type know no gradient of groups and dilations."""
    return x.dtype == tf.float64  # type: ignore[no-any-return]


def _spread(w: Any, dilations: Any) -> Any:
    """Filters [*K, M, C] with zeros between their taps."""
    for axis, d in enumerate(dilations):
        if d > 1:
            taps = tf.unstack(w, axis=axis)
            gap = [tf.zeros_like(taps[0])] * (d - 1)
            w = tf.stack([t for tap in taps for t in (tap, *gap)][: -(d - 1)], axis)
    return w


@rule("ConvTranspose")
def conv_transpose(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Any = None,
    output_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Transposed convolution. x: [N, C, *S], w: [C, M / group, *K] -> [N, M, *S']"""
    n = x.shape.rank - 2
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    extra = list(output_padding or (0,) * n)
    filters = _spread(tf.transpose(w, (*range(2, n + 2), 1, 0)), dilations)
    space = extents(x)[2:]
    full = [(space[i] - 1) * strides[i] + filters.shape[i] for i in range(n)]
    if output_shape is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        output_shape = [space[i] * strides[i] for i in range(n)]
    if output_shape is not None:
        widths = []
        for i, wanted in enumerate(output_shape[-n:]):
            total = full[i] + extra[i] - wanted
            extra[i] += max(-total, 0)
            less, more = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
            widths.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
    else:
        widths = list(pads_for(auto_pad, space, tuple(w.shape[2:]), strides, dilations, pads))
    made = _full_transpose(channels_last(x), filters, full, strides, group)
    made = bordered(made, [(-a, e - z) for (a, z), e in zip(widths, extra, strict=True)])
    return channels_first(made if b is None else tf.nn.bias_add(made, b))


def _full_transpose(x: Any, w: Any, full: Any, strides: Any, group: int) -> Any:
    """Everything the filters [*K, M / group, C] reach. -> [N, *full, M]"""
    n = x.shape.rank - 2
    shape = tf.stack([tf.cast(v, tf.int32) for v in (extents(x)[0], *full, w.shape[-2])])
    wide = [*strides] if n < 3 else [1, *strides, 1]
    parts = zip(tf.split(x, group, -1), tf.split(w, group, -1), strict=True)
    made = [_TRANSPOSE[n](a, f, shape, wide, "VALID") for a, f in parts]
    return made[0] if group == 1 else tf.concat(made, -1)


@rule("ConvInteger")
def conv_integer(x: Any, w: Any, x_zero: Any = None, w_zero: Any = None, **options: Any) -> Any:
    """Convolution of integers less their zero points, in int32; summed in float64, exactly."""
    parts = []
    for value, zero in ((x, x_zero), (w, w_zero)):
        wide = tf.cast(value, tf.float64)
        if zero is not None:
            shift = tf.cast(zero, tf.float64)
            wide -= tf.reshape(shift, (-1, *(1,) * (value.shape.rank - 1)))
        parts.append(wide)
    return tf.cast(conv(*parts, **options), tf.int32)
