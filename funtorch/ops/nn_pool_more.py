"""Pooling by p-norms, and fractional max pooling."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax.numpy as jnp

from funtorch.ops._declare import TABLE, Array, composite, op
from funtorch.tensor import Tensor, size_of

Ints = Any


def _lp_pool(n: int) -> None:
    def function(
        input: Tensor,
        norm_type: float,
        kernel_size: Ints,
        stride: Ints = None,
        ceil_mode: bool = False,
    ) -> Tensor:
        count = kernel_size**n if isinstance(kernel_size, int) else math.prod(kernel_size)
        powers = input.pow(norm_type)
        pool = TABLE[f"avg_pool{n}d"].facade
        mean = pool(powers, kernel_size, stride, 0, ceil_mode)
        positive = TABLE["relu"].facade(mean.abs())
        return (mean.sign() * positive).mul(count).pow(1.0 / norm_type)

    function.__name__ = f"lp_pool{n}d"
    function.__doc__ = "The p-norm of windows. [n, c, ...] -> [n, c, ...]"
    composite("functional", function=False)(function)


for _n in (1, 2, 3):
    _lp_pool(_n)


def _starts(sample: Array, size: int, out: int, kernel: int) -> Array:
    """Where windows begin: Graham, Fractional max-pooling (2014). sample: [...] -> [..., out]"""
    if out == 1:
        return jnp.full((*sample.shape, 1), size - kernel, jnp.int32)
    alpha = jnp.asarray((size - kernel) / (out - 1), sample.dtype)
    steps = jnp.arange(out - 1, dtype=sample.dtype)
    first = ((steps + sample[..., None]) * alpha).astype(jnp.int32)
    first = first - (sample[..., None] * alpha).astype(jnp.int32)
    last = jnp.full((*sample.shape, 1), size - kernel, jnp.int32)
    return jnp.concatenate([first, last], -1)


def _flat_places(starts: list[Array], offsets: tuple[int, ...], sizes: Any) -> Array:
    """Flat indices of one element of every window. -> [n, c, *out]"""
    n = len(sizes)
    flat = jnp.zeros((), jnp.int32)
    for d, (start, offset, size) in enumerate(zip(starts, offsets, sizes, strict=True)):
        shape = (*start.shape[:2], *(1,) * d, start.shape[2], *(1,) * (n - 1 - d))
        flat = flat * size + (start + offset).reshape(shape)
    return flat


@op(function=False, saves=("self", "samples"), grad_name="FractionalMaxPoolBackward0")
def _fractional(self: Array, samples: Array, kernel: Any, out: Any) -> tuple[Array, Array]:
    """self: [n, c, ...], samples: [n, c, d] -> values and flat indices [n, c, *out]"""
    sizes = self.shape[2:]
    d = len(sizes)
    # The samples stand for (width, height) in two dimensions, but (time, height, width) in three.
    order = range(d)[::-1] if d == 2 else range(d)
    starts = [_starts(samples[..., k], sizes[i], out[i], kernel[i]) for i, k in enumerate(order)]
    rows = self.reshape(*self.shape[:2], math.prod(sizes))
    best = index = None
    for offsets in itertools.product(*(range(k) for k in kernel)):
        flat = _flat_places(starts, offsets, sizes)
        shape = flat.shape
        picked = jnp.take_along_axis(
            rows, flat.reshape(*shape[:2], math.prod(shape[2:])), 2
        ).reshape(shape)
        if best is None:
            best, index = picked, flat
        else:
            better = (picked > best) | jnp.isnan(picked)
            best, index = jnp.where(better, picked, best), jnp.where(better, flat, index)
    assert best is not None and index is not None
    return best, index.astype(jnp.int64)


def _fractional_pool(n: int) -> None:
    name = f"fractional_max_pool{n}d"

    def both(
        input: Tensor,
        kernel_size: Ints,
        output_size: Ints = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        kernel = (kernel_size,) * n if isinstance(kernel_size, int) else tuple(kernel_size)
        x = input if input.ndim == n + 2 else input.unsqueeze(0)
        if input.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"{name}: Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}"
            )
        sizes = size_of(x)[2:]
        if output_size is None:
            ratio = (output_ratio,) * n if isinstance(output_ratio, float) else output_ratio
            out = tuple(int(s * r) for s, r in zip(sizes, ratio, strict=True))
        else:
            out = (output_size,) * n if isinstance(output_size, int) else tuple(output_size)
        for s, k, o in zip(sizes, kernel, out, strict=True):
            if o + k - 1 > s:
                raise RuntimeError(
                    f"{name}: kernel size {k} is too large relative to input size {s}"
                )
        samples = _random_samples
        if samples is None:
            samples = TABLE["rand"].facade(*size_of(x)[:2], n, dtype=x.dtype, device=x.device)
        values, index = _fractional(x, samples[: x.shape[0]], kernel, out)
        if input.ndim == n + 1:
            values, index = values.squeeze(0), index.squeeze(0)
        return values, index

    def pool(
        input: Tensor,
        kernel_size: Ints,
        output_size: Ints = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        found = both(input, kernel_size, output_size, output_ratio, True, _random_samples)
        return found if return_indices else found[0]

    both.__doc__ = pool.__doc__ = (
        "Max pooling over windows at random places. [n, c, ...] -> [n, c, *out]"
    )
    composite("functional", name=name, function=False)(pool)
    composite("functional", name=f"{name}_with_indices", function=False)(both)


_fractional_pool(2)
_fractional_pool(3)
