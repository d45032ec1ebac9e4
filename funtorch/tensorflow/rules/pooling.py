"""Pooling over windows, or over everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.onnx.convolution import pads_for
from funtorch.tensorflow.emission import rule
from funtorch.tensorflow.rules.convolution import bordered, channels_first, channels_last


class Windows:
    """Where the windows of a pooling lie: one list of positions per dimension of space.

    x: [N, C, *S]; its space has to be known unless `plain`, when TensorFlow's own pooling will do.
    """

    def __init__(
        self,
        x: Any,
        kernel_shape: Any,
        *,
        auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
        dilations: Any = None,
        pads: Any = None,
        strides: Any = None,
    ) -> None:
        n = len(kernel_shape)
        self.size = tuple(kernel_shape)
        self.strides, self.dilations = strides or (1,) * n, dilations or (1,) * n
        self.space = x.shape[2:].as_list()
        known = None not in self.space
        if not known and (ceil_mode or auto_pad.startswith("SAME")):
            raise NotImplementedError("this pooling needs to know the extents of its input")
        self.widths = pads_for(
            auto_pad, self.space, kernel_shape, self.strides, self.dilations, pads
        )
        self.plain = max(self.dilations) == 1 and not ceil_mode and n <= 3
        self.out = [self._count(i, bool(ceil_mode)) for i in range(n)] if known else []

    def _count(self, i: int, ceil_mode: bool) -> int:
        before, after = self.widths[i]
        reach = (self.size[i] - 1) * self.dilations[i] + 1
        room = self.space[i] + before + after - reach
        count = (-(-room // self.strides[i]) if ceil_mode else room // self.strides[i]) + 1
        # A window has to begin within the input or its left border.
        if ceil_mode and (count - 1) * self.strides[i] >= self.space[i] + before:
            count -= 1
        return int(count)

    def positions(self, i: int) -> np.ndarray[Any, Any]:
        """Along dimension i of space: [windows, taps], which may lie outside."""
        starts = np.arange(self.out[i])[:, None] * self.strides[i] - self.widths[i][0]
        return starts + np.arange(self.size[i])[None] * self.dilations[i]

    def counts(self, within_border: bool) -> np.ndarray[Any, Any]:
        """How many taps of each window lie in the input, or also in its border. [*out]"""
        made = np.ones((), np.int64)
        for i, extent in enumerate(self.space):
            at = self.positions(i)
            low, high = self.widths[i] if within_border else (0, 0)
            inside = ((at >= -low) & (at < extent + high)).sum(1)
            made = made[..., None] * inside
        return made

    def taken(self, x: Any, fill: Any) -> Any:
        """All taps of all windows. [N, C, *S] -> [N, C, *out, prod(size)]"""
        n = len(self.size)
        for i in range(n):
            at, axis = self.positions(i), 2 + 2 * i
            inside = (at >= 0) & (at < self.space[i])
            x = tf.gather(x, np.clip(at, 0, self.space[i] - 1), axis=axis)
            mask = inside.reshape(*inside.shape, *(1,) * (n - 1 - i))
            x = tf.where(mask, x, tf.cast(fill, x.dtype))
        x = tf.transpose(x, (0, 1, *range(2, 2 + 2 * n, 2), *range(3, 3 + 2 * n, 2)))
        return tf.reshape(x, (-1, x.shape[1], *self.out, int(np.prod(self.size))))


def _least(x: Any) -> Any:
    return -np.inf if x.dtype.is_floating else x.dtype.min


@rule("MaxPool")
def max_pool(
    x: Any, *, ctx: Any, kernel_shape: Any, storage_order: int = 0, **options: Any
) -> Any:
    """Greatest of each window, and where in the whole tensor it is if that is wanted."""
    w = Windows(x, kernel_shape, **options)
    if len(ctx.outputs) > 1 and ctx.outputs[1]:
        return _max_and_index(x, w, bool(storage_order))
    if not w.plain or not x.dtype.is_floating:
        return tf.reduce_max(w.taken(x, _least(x)), -1)
    rows = bordered(channels_last(x), w.widths, _least(x))
    return channels_first(tf.nn.max_pool(rows, w.size, w.strides, "VALID"))


def _max_and_index(x: Any, w: Windows, columns: bool) -> Any:
    space, total = w.space, int(np.prod(w.space))
    number = np.arange(total, dtype=np.int64)
    number = number.reshape(space[::-1]).T if columns else number.reshape(space)
    values = w.taken(x, _least(x))
    places = w.taken(tf.constant(number[None, None]), 0)
    best = tf.argmax(values, -1)
    where = tf.gather(tf.broadcast_to(places, tf.shape(values)), best, batch_dims=best.shape.rank)
    planes = tf.range(tf.reduce_prod(tf.shape(x, tf.int64)[:2])) * total
    shape = tf.concat([tf.shape(x, tf.int64)[:2], [1] * len(space)], 0)
    return tf.reduce_max(values, -1), where + tf.reshape(planes, shape)


@rule("AveragePool")
def average_pool(x: Any, *, kernel_shape: Any, count_include_pad: int = 0, **options: Any) -> Any:
    """Mean of each window."""
    w = Windows(x, kernel_shape, **options)
    borderless = not any(a or b for a, b in w.widths)
    if w.plain and (borderless or count_include_pad):
        rows = bordered(channels_last(x), w.widths)
        return channels_first(tf.nn.avg_pool(rows, w.size, w.strides, "VALID"))
    if not w.out:
        raise NotImplementedError("this pooling needs to know the extents of its input")
    counts = tf.cast(w.counts(bool(count_include_pad)), x.dtype)
    if not w.plain:
        return tf.reduce_sum(w.taken(x, 0), -1) / counts
    rows = tf.nn.avg_pool(bordered(channels_last(x), w.widths), w.size, w.strides, "VALID")
    return channels_first(rows) * tf.cast(np.prod(w.size), x.dtype) / counts


@rule("LpPool")
def lp_pool(x: Any, *, kernel_shape: Any, p: float = 2, **options: Any) -> Any:
    """p-norm of each window."""
    taken = Windows(x, kernel_shape, **options).taken(x, 0)
    return tf.reduce_sum(tf.abs(taken) ** p, -1) ** (1 / p)


def _space(x: Any) -> list[int]:
    return list(range(2, x.shape.rank))


@rule("GlobalAveragePool")
def global_average_pool(x: Any) -> Any:
    """[N, C, *S] -> [N, C, 1...]: the mean over space."""
    return tf.reduce_mean(x, _space(x), keepdims=True)


@rule("GlobalMaxPool")
def global_max_pool(x: Any) -> Any:
    """[N, C, *S] -> [N, C, 1...]: the maximum over space."""
    return tf.reduce_max(x, _space(x), keepdims=True)


@rule("GlobalLpPool")
def global_lp_pool(x: Any, *, p: int = 2) -> Any:
    """[N, C, *S] -> [N, C, 1...]: the p-norm over space."""
    return tf.reduce_sum(tf.abs(x) ** p, _space(x), keepdims=True) ** (1 / p)


@rule("MaxUnpool")
def max_unpool(
    x: Any,
    index: Any,
    output_shape: Any = None,
    *,
    kernel_shape: Any,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Maxima put back where they came from; zero elsewhere."""
    n = len(kernel_shape)
    strides, pads = strides or (1,) * n, pads or (0,) * 2 * n
    space = [
        (x.shape[2 + i] - 1) * strides[i] + kernel_shape[i] - pads[i] - pads[i + n]
        for i in range(n)
    ]
    shape = tf.concat([tf.shape(x, tf.int64)[:2], space], 0)
    flat = tf.scatter_nd(
        tf.reshape(index, (-1, 1)), tf.reshape(x, (-1,)), tf.reduce_prod(shape)[None]
    )
    made = tf.reshape(flat, shape)
    if output_shape is None:
        return made
    grown = tf.cast(output_shape, tf.int64) - shape
    return tf.pad(made, tf.stack([tf.zeros_like(grown), grown], 1))
