"""Rules of convolutions, pooling, padding and resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funtorch.onnx.writing.table import rule
from funtorch.onnx.writing.values import Val, static
from funtorch.ops.nn_conv import _padding as conv_padding

Ints = Any


def several(value: Ints, n: int) -> tuple[int, ...]:
    """n numbers from one or n."""
    if isinstance(value, int):
        return (value,) * n
    return tuple(value) * n if len(value) == 1 else tuple(value)


def batched(g: Any, x: Val, n: int, write: Callable[[Val], Any]) -> Any:
    """Write an op that wants a batch dimension."""
    if x.ndim == n + 2:
        return write(x)
    made = write(g.unsqueeze(x, [0]))
    if made is NotImplemented:
        return made
    parts = made if isinstance(made, list | tuple) else [made]
    flat = [g.squeeze(p, [0]) for p in parts]
    return flat if isinstance(made, list | tuple) else flat[0]


def _out_shape(g: Any, x: Val, n: int, index: int = 0) -> tuple[Any, ...]:
    shape = tuple(g.inst.out_avals[index].shape)
    return shape if len(shape) == n + 2 else (1, *shape)


def _conv(n: int) -> None:
    @rule(f"conv{n}d")
    def conv(
        g: Any, self: Val, weight: Val, bias: Val | None, stride: Ints, padding: Any,
        dilation: Ints, groups: int,
    ) -> Any:  # fmt: skip
        if self.dtype.kind not in "fV":
            return NotImplemented
        steps, holes = several(stride, n), several(dilation, n)
        kernel = weight.shape[2:]  # type: ignore[index]
        sides = conv_padding(padding, n, kernel, steps, holes)  # type: ignore[arg-type]
        pads = [a for a, _ in sides] + [b for _, b in sides]

        def write(x: Val) -> Any:
            return g.op("Conv", x, weight, bias, kernel_shape=list(kernel), strides=list(steps),
                        pads=pads, dilations=list(holes), group=groups,
                        shape=_out_shape(g, x, n))  # fmt: skip

        return batched(g, self, n, write)

    @rule(f"conv_transpose{n}d")
    def conv_transpose(
        g: Any, self: Val, weight: Val, bias: Val | None, stride: Ints, padding: Ints,
        output_padding: Ints, groups: int, dilation: Ints,
    ) -> Any:  # fmt: skip
        steps, holes = several(stride, n), several(dilation, n)
        sides, extra = several(padding, n), several(output_padding, n)
        kernel = weight.shape[2:]  # type: ignore[index]
        if self.dtype.kind not in "fV" or any(e >= s for e, s in zip(extra, steps, strict=True)):
            return NotImplemented

        def write(x: Val) -> Any:
            return g.op("ConvTranspose", x, weight, bias, kernel_shape=list(kernel),
                        strides=list(steps), pads=[*sides, *sides], dilations=list(holes),
                        output_padding=list(extra), group=groups,
                        shape=_out_shape(g, x, n))  # fmt: skip

        return batched(g, self, n, write)


def _over(size: Any, k: int, s: int, p: int, h: int) -> int:
    """How far the last window of ceil_mode reaches beyond the padding."""
    span = size + 2 * p - h * (k - 1) - 1
    out = -(-span // s) + 1
    if (out - 1) * s >= size + p:
        out -= 1
    return int(max((out - 1) * s + h * (k - 1) + 1 - size - 2 * p, 0))


def _max_pool(n: int) -> None:
    def pooled(
        g: Any, x: Val, kernel_size: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool,
        outputs: int,
    ) -> Any:  # fmt: skip
        kernel = several(kernel_size, n)
        steps = kernel if stride is None or stride == () else several(stride, n)
        sides, holes = several(padding, n), several(dilation, n)
        space = x.shape[-n:]  # type: ignore[index]
        ends = list(sides)
        if x.dtype.name not in ("float32", "float64", "float16", "bfloat16", "int8", "uint8"):
            return NotImplemented
        if ceil:
            if not static(space):
                return NotImplemented
            every = zip(space, kernel, steps, sides, holes, strict=True)
            ends = [p + _over(*e) for p, e in zip(sides, every, strict=True)]
        shape = _out_shape(g, x, n)
        made = g.op("MaxPool", x, n=outputs, kernel_shape=list(kernel), strides=list(steps),
                    pads=[*sides, *ends], dilations=list(holes), shape=shape)  # fmt: skip
        if outputs == 1:
            return made
        values, index = made
        index.dtype = np.dtype(np.int64)
        index.shape = index.held = shape
        # There indices count through the whole batch, here through one channel.
        return [values, g.op("Mod", index, g.number(math.prod(space)))]

    @rule(f"_max_pool{n}d")
    def max_pool(g: Any, self: Val, *args: Any) -> Any:
        return batched(g, self, n, lambda x: pooled(g, x, *args, 1))

    @rule(f"_max_pool{n}d_with_indices")
    def max_pool_with_indices(g: Any, self: Val, *args: Any) -> Any:
        return batched(g, self, n, lambda x: pooled(g, x, *args, 2))


def _avg_pool(n: int) -> None:
    @rule(f"avg_pool{n}d")
    def avg_pool(
        g: Any, self: Val, kernel_size: Ints, stride: Ints, padding: Ints, ceil: bool,
        with_padding: bool, divisor: int | None,
    ) -> Any:  # fmt: skip
        kernel = several(kernel_size, n)
        steps = kernel if stride is None or stride == () else several(stride, n)
        sides = several(padding, n)
        space = self.shape[-n:]  # type: ignore[index]
        if divisor is not None or self.dtype.kind not in "fV":
            return NotImplemented
        if ceil and (
            not static(space)
            or any(_over(*e, 1) for e in zip(space, kernel, steps, sides, strict=True))
        ):
            return NotImplemented

        def write(x: Val) -> Any:
            return g.op("AveragePool", x, kernel_shape=list(kernel), strides=list(steps),
                        pads=[*sides, *sides], count_include_pad=int(with_padding),
                        shape=_out_shape(g, x, n))  # fmt: skip

        return batched(g, self, n, write)

    @rule(f"adaptive_avg_pool{n}d")
    def adaptive_avg_pool(g: Any, self: Val, output_size: Ints) -> Any:
        wanted = several(output_size, n) if output_size is not None else (None,) * n
        space = self.shape[-n:]  # type: ignore[index]
        wanted = tuple(s if w is None else w for s, w in zip(space, wanted, strict=True))
        if self.dtype.kind not in "fV":
            return NotImplemented
        if all(w == 1 for w in wanted):
            return batched(g, self, n, lambda x: g.op(
                "GlobalAveragePool", x, shape=_out_shape(g, x, n)))  # fmt: skip
        if not static(space) or any(s % w for s, w in zip(space, wanted, strict=True)):
            return NotImplemented
        kernel = [s // w for s, w in zip(space, wanted, strict=True)]
        return batched(g, self, n, lambda x: g.op(
            "AveragePool", x, kernel_shape=kernel, strides=kernel,
            shape=_out_shape(g, x, n)))  # fmt: skip

    @rule(f"_adaptive_max_pool{n}d")
    def adaptive_max_pool(g: Any, self: Val, output_size: Ints) -> Any:
        wanted = several(output_size, n) if output_size is not None else (None,) * n
        space = self.shape[-n:]  # type: ignore[index]
        wanted = tuple(s if w is None else w for s, w in zip(space, wanted, strict=True))
        if not static(space) or any(s % w for s, w in zip(space, wanted, strict=True)):
            return NotImplemented
        if self.dtype.name not in ("float32", "float64", "float16"):
            return NotImplemented
        kernel = [s // w for s, w in zip(space, wanted, strict=True)]

        def write(x: Val) -> Any:
            shape = _out_shape(g, x, n)
            values, index = g.op("MaxPool", x, n=2, kernel_shape=kernel, strides=kernel,
                                 shape=shape)  # fmt: skip
            index.dtype = np.dtype(np.int64)
            index.shape = index.held = shape
            return [values, g.op("Mod", index, g.number(math.prod(space)))]

        return batched(g, self, n, write)


for _n in (1, 2, 3):
    _conv(_n)
    _max_pool(_n)
    _avg_pool(_n)

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@rule("pad")
def pad(g: Any, self: Val, pad: Any, mode: str, value: float | None) -> Any:
    if (mode == "circular" and g.opset < 19) or not all(isinstance(p, int) for p in pad):
        return NotImplemented
    if any(p < 0 for p in pad) or self.dtype == np.bool_ or self.dtype.kind == "V":
        return NotImplemented
    n = len(pad) // 2
    axes = [self.ndim - 1 - i for i in range(n)]
    widths = [pad[2 * i] for i in range(n)] + [pad[2 * i + 1] for i in range(n)]
    fill = g.like(value or 0, self) if mode == "constant" else None
    return g.op("Pad", self, g.ints(widths), fill, g.ints(axes), mode=_MODES[mode],
                shape=tuple(g.inst.out_avals[0].shape))  # fmt: skip


@rule("pixel_shuffle")
def pixel_shuffle(g: Any, self: Val, factor: int) -> Any:
    if self.ndim != 4:
        return NotImplemented
    return g.op("DepthToSpace", self, blocksize=factor, mode="CRD",
                shape=tuple(g.inst.out_avals[0].shape))  # fmt: skip


def _resized(g: Any, x: Val, size: Any, scales: Any, **attrs: Any) -> Any:
    """Resize of the space of [N, C, ...] to `size`, by the scales that the caller gave, if any."""
    out = (*x.shape[:2], *size)  # type: ignore[index]
    if all(s is not None for s in scales):
        factors = g.const(np.array([1, 1, *scales], np.float32))
        return g.op("Resize", x, None, factors, shape=out, **attrs)
    if static(size):
        axes = list(range(2, x.ndim))
        return g.op("Resize", x, None, None, g.ints(size), axes=axes, shape=out, **attrs)
    return g.op("Resize", x, None, None, g.shape(out), shape=out, **attrs)


@rule("_nearest")
def nearest(g: Any, self: Val, size: Any, scales: Any, exact: bool) -> Any:
    if self.dtype != np.float32:
        return NotImplemented
    how = ("half_pixel", "round_prefer_ceil") if exact else ("asymmetric", "floor")
    return _resized(
        g, self, size, scales, mode="nearest", coordinate_transformation_mode=how[0],
        nearest_mode=how[1],
    )  # fmt: skip


@rule("_interpolated")
def interpolated(g: Any, self: Val, size: Any, scales: Any, align: bool, kind: str) -> Any:
    smooth = kind.startswith("smooth ")
    kind = kind.removeprefix("smooth ")
    if self.dtype != np.float32 or self.ndim == 3 or smooth or (kind == "cubic" and self.ndim != 4):
        return NotImplemented
    place = "align_corners" if align else "half_pixel"
    return _resized(
        g, self, size, scales, mode=kind, coordinate_transformation_mode=place,
        cubic_coeff_a=-0.75 if kind == "cubic" else None,
    )  # fmt: skip
