"""Random numbers made inside the program, from a key that is one of its inputs (threefry).

The key is two 32-bit words: equal keys give equal numbers, on every device. GPUs draw this way, and
so may transformed functions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from funtorch import random_mode
from funtorch.ops._declare import Array, Dtype, Scalar, op
from funtorch.tensor import Tensor


def _key(words: Array) -> Array:
    return jax.random.wrap_key_data(words, impl="threefry2x32")


@op(function=False, differentiable=False)
def _key_fold(key: Array, number: int) -> Array:
    """The key of a draw. key: uint32 [2] -> uint32 [2]"""
    return jax.random.key_data(jax.random.fold_in(_key(key), number))


@op(function=False, differentiable=False)
def _key_split(key: Array, n: int) -> Array:
    """n keys from one. key: uint32 [2] -> uint32 [n, 2]"""
    return jax.random.key_data(jax.random.split(_key(key), n))


def next_key() -> Tensor:
    """The key of the next draw inside `vmap(randomness='different')`. -> uint32 [2]"""
    state = random_mode.state
    state.draws += 1
    return _key_fold(state.key, state.draws)


@op(function=False, differentiable=False)
def _key_uniform(
    key: Array, size: tuple[int, ...], low: Scalar, high: Scalar, dtype: Dtype
) -> Array:
    """Uniform on [low, high). key: uint32 [2] -> [*size]"""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        part = jnp.finfo(dtype).dtype
        parts = jax.random.uniform(_key(key), (*size, 2), part) * (high - low) + low
        return jax.lax.complex(parts[..., 0], parts[..., 1]).astype(dtype)
    return (jax.random.uniform(_key(key), size, dtype) * (high - low) + low).astype(dtype)


@op(function=False, differentiable=False)
def _key_normal(
    key: Array, size: tuple[int, ...], mean: Scalar, std: Scalar, dtype: Dtype
) -> Array:
    """Normal; complex ones have variance `std` squared in total. key: uint32 [2] -> [*size]"""
    return (jax.random.normal(_key(key), size, dtype) * std + mean).astype(dtype)


@op(function=False, differentiable=False)
def _key_bits(key: Array, size: tuple[int, ...]) -> Array:
    """64 random bits each. key: uint32 [2] -> uint64 [*size]"""
    return jax.random.bits(_key(key), size, jnp.uint64)


@op(function=False, differentiable=False)
def _key_integers(
    key: Array, size: tuple[int, ...], low: Scalar, span: Scalar, dtype: Dtype
) -> Array:
    """Integers on [low, low + span). key: uint32 [2] -> [*size]"""
    bits = jax.random.bits(_key(key), size, jnp.uint64)
    rest = bits % jnp.asarray(span).astype(jnp.uint64)
    return (rest.astype(jnp.int64) + low).astype(dtype)


@op(function=False, differentiable=False)
def _key_bernoulli(key: Array, size: tuple[int, ...], p: Scalar, dtype: Dtype) -> Array:
    """One with probability p, else zero. key: uint32 [2] -> [*size]"""
    return (jax.random.uniform(_key(key), size, jnp.float32) < p).astype(dtype)


@op(function=False, differentiable=False)
def _key_permutation(key: Array, n: int, dtype: Dtype) -> Array:
    """The numbers below n in random order. key: uint32 [2] -> [n]"""
    return jax.random.permutation(_key(key), n).astype(dtype)


@op(function=False, differentiable=False)
def _key_exponential(key: Array, size: tuple[int, ...], rate: Scalar, dtype: Dtype) -> Array:
    """Exponential. key: uint32 [2] -> [*size]"""
    return (jax.random.exponential(_key(key), size, jnp.float32) / rate).astype(dtype)


@op(function=False, differentiable=False)
def _key_gamma(key: Array, concentration: Array) -> Array:
    """Gamma of scale 1. key: uint32 [2], concentration: [...] -> [...]"""
    return jax.random.gamma(_key(key), concentration)


@op(function=False, differentiable=False)
def _key_poisson(key: Array, rate: Array) -> Array:
    """Poisson. key: uint32 [2], rate: [...] -> [...]"""
    return jax.random.poisson(_key(key), rate).astype(rate.dtype)


@op(function=False, differentiable=False)
def _key_binomial(key: Array, count: Array, p: Array) -> Array:
    """Binomial. key: uint32 [2], count, p: [...] -> [...]"""
    return jax.random.binomial(_key(key), count, p).astype(count.dtype)


@op(function=False, saves=(), grad_name="NormalBackward0")
def _random_replaced(self: Array, new: Array) -> Array:
    """New contents, of which the old ones get a gradient of zero. self, new: [...] -> [...]"""
    return jnp.where(jnp.zeros((), jnp.bool_), jnp.zeros_like(self), new)
