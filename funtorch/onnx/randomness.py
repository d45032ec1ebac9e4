"""Random values, from funtorch's generators; a seed in the model makes its own."""

from __future__ import annotations

from typing import Any

from funtorch import dtypes
from funtorch.onnx.rules import rule
from funtorch.ops._declare import TABLE
from funtorch.random import Generator
from funtorch.tensor import Tensor


def _drawn(ctx: Any, kind: str, shape: Any, dtype: int | None, seed: float | None) -> Tensor:
    generator = None
    if seed is not None:
        generator = Generator()
        generator.manual_seed(int(seed))
    wanted = dtypes.of(ctx.dtype(dtype or 1))
    return TABLE[kind].facade(tuple(shape), generator=generator, dtype=wanted)


@rule("RandomUniform")
def random_uniform(
    *,
    ctx: Any,
    shape: Any,
    dtype: int = 1,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
) -> Any:
    """Uniform in [low, high)."""
    return _drawn(ctx, "rand", shape, dtype, seed) * (high - low) + low


@rule("RandomNormal")
def random_normal(
    *,
    ctx: Any,
    shape: Any,
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Any:
    """Normal with this mean and deviation."""
    return _drawn(ctx, "randn", shape, dtype, seed) * scale + mean


def _element(x: Tensor, dtype: int | None) -> int:
    from_name = {"float32": 1, "float16": 10, "float64": 11, "bfloat16": 16}
    return dtype or from_name.get(x.dtype.name, 1)


@rule("RandomUniformLike")
def random_uniform_like(
    x: Tensor,
    *,
    ctx: Any,
    dtype: int | None = None,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
) -> Any:
    """Uniform in [low, high), shaped as x."""
    return random_uniform(
        ctx=ctx, shape=x.shape, dtype=_element(x, dtype), high=high, low=low, seed=seed
    )


@rule("RandomNormalLike")
def random_normal_like(
    x: Tensor,
    *,
    ctx: Any,
    dtype: int | None = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Any:
    """Normal, shaped as x."""
    return random_normal(
        ctx=ctx, shape=x.shape, dtype=_element(x, dtype), mean=mean, scale=scale, seed=seed
    )


@rule("Multinomial")
def multinomial(
    x: Tensor, *, ctx: Any, dtype: int = 6, sample_size: int = 1, seed: float | None = None
) -> Any:
    """Samples of classes from unnormalised log probabilities. x: [N, C] -> [N, sample_size]"""
    generator = None
    if seed is not None:
        generator = Generator()
        generator.manual_seed(int(seed))
    drawn = TABLE["multinomial"].facade(x.softmax(1), sample_size, True, generator=generator)
    return drawn.to(dtypes.of(ctx.dtype(dtype)))
