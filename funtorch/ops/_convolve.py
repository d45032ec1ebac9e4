"""Convolutions, and convolutions of spaced-out inputs, in the form that their platform runs fastest."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.lowering import platform
from funtorch.ops._declare import Array


def convolve(
    x: Array,
    weight: Array,
    stride: tuple[int, ...],
    padding: list[tuple[int, int]],
    dilation: tuple[int, ...],
    groups: int,
) -> Array:
    """The convolution itself, in the form that its platform runs fastest. [N, C, ...]"""
    where = (stride, padding, dilation)
    if platform() == "cpu" and all(isinstance(size, int) for size in x.shape):
        few = math.prod(weight.shape[2:]) <= MOST_TAPS
        if groups == 1 and few and _is_small(x, weight, *where):
            return _as_product(x, weight, *where)
        if groups > 1 and weight.shape[1] == 1 and few:
            return _depthwise(x, weight, *where)
        if 1 < groups <= MOST_GROUPS:
            return _by_groups(x, weight, *where, groups)
    return _general(x, weight, *where, groups)


def transposed(
    x: Array,
    kernel: Array,
    stride: tuple[int, ...],
    padding: list[tuple[int, int]],
    dilation: tuple[int, ...],
    groups: int,
) -> Array:
    """The convolution of x with zeros set between its elements. kernel: [O, C/groups, ...], reversed."""
    plain = all(d == 1 for d in dilation) and all(isinstance(size, int) for size in x.shape[2:])
    if platform() == "cpu" and plain and 1 < math.prod(stride) <= MOST_PHASES:
        return _by_phases(x, kernel, stride, padding, groups)
    ones = (1,) * len(stride)
    return _general(x, kernel, ones, padding, dilation, groups, stride)


def _general(
    x: Array,
    weight: Array,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    between: Any = None,
) -> Array:
    n = weight.ndim - 2
    spatial = "DHW"[3 - n :]
    numbers = lax.conv_dimension_numbers(
        (1,) * (n + 2), (1,) * (n + 2), ("NC" + spatial, "OI" + spatial, "NC" + spatial)
    )
    return lax.conv_general_dilated(
        x,
        weight,
        stride,
        padding,
        lhs_dilation=between,
        rhs_dilation=dilation,
        dimension_numbers=numbers,
        feature_group_count=groups,
    )


# Forms for XLA:CPU, whose general one is slow in places; figures are of two AVX-512 cores.
# Those that go over the kernel's elements one by one do so up to this number.
MOST_TAPS = 64
# These are as many convolutions each, which takes time to compile.
MOST_GROUPS = 64
MOST_PHASES = 16


def _sizes(sizes: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> list[int]:
    """The spatial sizes of the result."""
    parts = zip(sizes, kernel, stride, padding, dilation, strict=True)
    return [(size + sum(p) - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in parts]


def _is_small(x: Array, weight: Array, stride: Any, padding: Any, dilation: Any) -> bool:
    """Is the weight as large as all the patches it is applied to (or a patch one element)?"""
    kernel = weight.shape[2:]
    outs = _sizes(x.shape[2:], kernel, stride, padding, dilation)
    return math.prod(kernel) == 1 or x.shape[0] * math.prod(outs) <= weight.shape[0]


def _taps(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any) -> list[Array]:
    """What each element of the kernel meets, channels last. [N, C, ...] -> each [N, ..., C]"""
    outs = _sizes(x.shape[2:], kernel, stride, padding, dilation)
    sides = [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)]
    padded = lax.pad(jnp.moveaxis(x, 1, -1), jnp.zeros((), x.dtype), sides)
    taps = []
    for at in itertools.product(*map(range, kernel)):
        starts = [a * d for a, d in zip(at, dilation, strict=True)]
        stops = [b + s * (n - 1) + 1 for b, s, n in zip(starts, stride, outs, strict=True)]
        stops = (x.shape[0], *stops, x.shape[1])
        taps.append(lax.slice(padded, (0, *starts, 0), stops, (1, *stride, 1)))
    return taps


def _as_product(x: Array, weight: Array, stride: Any, padding: Any, dilation: Any) -> Array:
    """One product: patches [places, C * kernel] times the weight as it lies.

    XLA reorders the weight, and its gradients do so again: 512 -> 512 channels, 3×3, over
    [16, 512, 4, 4] take 16 ms for that alone, and 11 ms so with all gradients.
    """
    where = _Windows(x.shape[2:], weight.shape[2:], stride, tuple(padding), dilation)
    columns = _patches(x, where).reshape(-1, math.prod(weight.shape[1:]))
    out = columns @ weight.reshape(weight.shape[0], -1).T
    return jnp.moveaxis(out.reshape(x.shape[0], *where.outs(), -1), -1, 1)


class _Windows(NamedTuple):
    """Where a kernel is applied."""

    space: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    def outs(self) -> list[int]:
        """The spatial sizes of the result."""
        return _sizes(*self)

    def sources(self, beyond: int) -> np.ndarray[Any, Any]:
        """[places, taps]: which element of the flat space a tap meets; `beyond` where there is none."""
        met, there = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
        for n, k, s, (low, _), d, out in zip(*self, self.outs(), strict=True):
            at = np.arange(out)[:, None] * s - low + np.arange(k) * d
            size = met.shape[0] * out
            met = (met[:, None, :, None] * n + at[None, :, None]).reshape(size, -1)
            there = there[:, None, :, None] & ((at >= 0) & (at < n))[None, :, None]
            there = there.reshape(size, -1)
        return np.where(there, met, beyond)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _patches(x: Array, where: _Windows) -> Array:
    """What the kernel meets at each place. [N, C, ...] -> [N, places, C, taps]

    One gather: slices are as many kernels to compile as there are taps (3×3: 130 against 35 ms), and
    slower to run. Their gradient is quicker than the gather's, though, so they are the tangent.
    """
    met = where.sources(beyond=math.prod(where.space))
    flat = jnp.moveaxis(x.reshape(*x.shape[:2], -1), 1, -1)
    found = flat.at[:, met.ravel()].get(mode="fill", fill_value=0)
    return found.reshape(x.shape[0], *met.shape, x.shape[1]).swapaxes(2, 3)


@_patches.defjvp
def _patches_jvp(where: _Windows, primals: Any, tangents: Any) -> tuple[Array, Array]:
    out = _patches(*primals, where)
    return out, jnp.stack(_taps(*tangents, *where[1:]), -1).reshape(out.shape)


def _depthwise(x: Array, weight: Array, stride: Any, padding: Any, dilation: Any) -> Array:
    """One channel in each group: a sum over the kernel's elements.

    [8, 64, 32, 32], 3×3: 1.4 ms, with gradients 5.0 ms; XLA's grouped convolution 18.3 and 20.9 ms.
    Half precision is summed in single, as in a convolution.
    """
    channels, dtype = x.shape[1], x.dtype
    if dtype in (jnp.float16, jnp.bfloat16):
        x, weight = x.astype(jnp.float32), weight.astype(jnp.float32)
    taps = _taps(x, weight.shape[2:], stride, padding, dilation)
    factors = jnp.moveaxis(weight.reshape(channels, -1, len(taps)), -1, 0)
    out = sum(tap[..., None] * factor for tap, factor in zip(taps, factors, strict=True))
    return jnp.moveaxis(out.reshape(*taps[0].shape[:-1], -1), -1, 1).astype(dtype)


def _by_groups(
    x: Array, weight: Array, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array:
    """Groups one after another.

    [8, 64, 32, 32] -> 128 in 4 groups, 3×3: 4.8 ms with gradients; XLA's grouped convolution 178 ms. 32 groups
    of [8, 128, 16, 16]: 4.9 and 485 ms.
    """
    parts = zip(jnp.split(x, groups, 1), jnp.split(weight, groups), strict=True)
    made = [convolve(one, own, stride, padding, dilation, 1) for one, own in parts]
    return jnp.concatenate(made, 1)


def _by_phases(x: Array, kernel: Array, stride: Any, around: Any, groups: int) -> Array:
    """`transposed` as one convolution of x for each phase of the stride. around: the padding.

    XLA multiplies by the zeros, and is slow at the weight's gradient: [16, 128, 16, 16] -> 64, 4×4,
    stride 2 takes 305 ms with gradients, and 13 ms so.
    """
    n, space = len(stride), x.shape[2:]
    spans = list(zip(space, stride, kernel.shape[2:], around, strict=True))
    sizes = [(size - 1) * s + 1 + sum(p) - k + 1 for size, s, k, p in spans]
    each = [-(-size // s) for size, s in zip(sizes, stride, strict=True)]

    def phase(at: tuple[int, ...]) -> Array:
        taps, sides = [], []
        for r, count, (size, s, k, (low, _)) in zip(at, each, spans, strict=True):
            first = (low - r) % s
            if first >= k:  # no element of the kernel meets one of x
                return jnp.zeros((x.shape[0], kernel.shape[0], *each), x.dtype)
            left = (low - r - first) // s
            taps.append(slice(first, None, s))
            sides.append((left, count - size + len(range(first, k, s)) - 1 - left))
        return convolve(x, kernel[:, :, *taps], (1,) * n, sides, (1,) * n, groups)

    phases = jnp.stack([phase(at) for at in itertools.product(*map(range, stride))], -1)
    phases = phases.reshape(*phases.shape[:-1], *stride)
    turns = [axis for d in range(n) for axis in (2 + d, 2 + n + d)]
    whole = [count * s for count, s in zip(each, stride, strict=True)]
    out = phases.transpose(0, 1, *turns).reshape(*phases.shape[:2], *whole)
    return out[:, :, *(slice(size) for size in sizes)]
