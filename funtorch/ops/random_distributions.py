"""Samplers of one distribution each, in place and out of place."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funtorch import dtypes
from funtorch.device import place_of
from funtorch.dispatch import read, to_host
from funtorch.ops import keyed
from funtorch.ops._declare import Array, Scalar, composite, op
from funtorch.ops._draw import drawn, fill, kind_of
from funtorch.ops.creation import finish, shape_from
from funtorch.ops.memory import convert
from funtorch.ops.random import _floating, _normal, _number
from funtorch.random import rejection, sampling
from funtorch.random.generator import Generator
from funtorch.tensor import Tensor, dtype_of, size_of

# In place -------------------------------------------------------------------------------------


@composite("method", function=False)
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Overwrite with ones, with probability p each, and zeros. p: number or [...]"""
    kind = dtype_of(self)
    if isinstance(p, Tensor):
        made = _bernoulli(p.expand(size_of(self)), generator, kind)
        return self.copy_(made.detach())
    p = float(p)
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    if kind.is_complex:
        raise NotImplementedError(
            f"\"bernoulli_scalar_cpu_\" not implemented for '{kind_of(self)}'"
        )
    return fill(
        self,
        generator,
        lambda e, n: sampling.below(e, n, p).astype(kind.numpy),
        lambda key, size: keyed._key_bernoulli(key, size, p, kind),
    )


@composite("method", function=False)
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Overwrite with exponential numbers of this rate."""
    kind, rate = dtype_of(self), _number(lambd)
    if not kind.is_floating_point:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {kind_of(self)}"
        )
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    return fill(
        self,
        generator,
        lambda e, n: sampling.exponential(e, n, kind.numpy, rate),
        lambda key, size: keyed._key_exponential(key, size, rate, kind),
    )


@composite("method", function=False)
def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Overwrite with the number of trials until the first success of probability p."""
    kind, p = dtype_of(self), _number(p)
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    return fill(
        self,
        generator,
        lambda e, n: sampling.geometric(e, n, kind.numpy, p),
        lambda key, size: _geometric_of(_unit(key, size), p).to(kind),
    )


@composite("method", function=False)
def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Overwrite with Cauchy numbers."""
    kind, median, sigma = dtype_of(self), _number(median), _number(sigma)
    if not kind.is_floating_point:
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {kind_of(self)}"
        )
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    return fill(
        self,
        generator,
        lambda e, n: sampling.cauchy(e, n, kind.numpy, median, sigma),
        lambda key, size: _cauchy_of(_unit(key, size), median, sigma).to(kind),
    )


@composite("method", function=False)
def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Overwrite with numbers whose logarithm is normal."""
    kind, mean, std = dtype_of(self), _number(mean), _number(std)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    if not kind.is_floating_point:
        raise NotImplementedError(f"\"log_normal_cpu\" not implemented for '{kind_of(self)}'")
    return fill(
        self,
        generator,
        lambda e, n: sampling.log_normal(e, n, kind.numpy, mean, std),
        lambda key, size: keyed._key_normal(key, size, mean, std, kind).exp(),
    )


def _unit(key: Tensor, size: Any) -> Tensor:
    return keyed._key_uniform(key, size, 0.0, 1.0, dtypes.float32)


@op(function=False, differentiable=False)
def _geometric_of(unit: Array, p: Scalar) -> Array:
    """Geometric numbers from uniform ones. unit: [...] -> [...]"""
    tiny = jnp.finfo(unit.dtype).tiny
    return jnp.ceil(jnp.log(jnp.maximum(unit, tiny)) / jnp.log1p(-jnp.asarray(p, unit.dtype)))


@op(function=False, differentiable=False)
def _cauchy_of(unit: Array, median: Scalar, sigma: Scalar) -> Array:
    """Cauchy numbers from uniform ones. unit: [...] -> [...]"""
    return median + sigma * jnp.tan(jnp.pi * (unit - 0.5))


# From parameters that are tensors ---------------------------------------------------------------


@op(function=False, saves=(), grad_name="BernoulliBackward0")
def _bernoulli_below(self: Array, unit: Array, dtype: np.dtype[Any]) -> Array:
    """Is the unit number below the probability? self, unit: [...] -> [...]"""
    return jax.lax.stop_gradient((unit < self.astype(unit.dtype)).astype(dtype))


def _bernoulli(p: Tensor, generator: Any, kind: dtypes.dtype) -> Tensor:
    own = dtype_of(p)
    if not own.is_floating_point:
        raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{kind_of(p)}'")
    wide = own is dtypes.float64
    type_ = np.float64 if wide else np.float32

    def draw(engine: Any, count: int) -> Any:
        return sampling.uniform(engine, count, type_, 0.0, 1.0)

    unit = drawn(
        size_of(p),
        p._value.aval.place,
        generator,
        draw,
        lambda key, size: keyed._key_uniform(key, size, 0.0, 1.0, dtypes.of(type_)),
        type_,
    )
    return _bernoulli_below(p, unit, kind)


@composite("method", out="cast")
def bernoulli(
    self: Tensor, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Ones with the probabilities `self` (or p everywhere), and zeros. [...] -> [...]"""
    if p is not None:
        return self.clone().detach().bernoulli_(p, generator=generator)
    return _bernoulli(self, generator, dtype_of(self))


@op(function=False, saves=(), grad_name="NormalBackward3")
def _normal_scaled(mean: Array, std: Array, unit: Array) -> Array:
    """unit * std + mean, to which no gradient flows. [...] -> [...]"""
    made = unit * std.astype(unit.dtype) + mean.astype(unit.dtype)
    return jax.lax.stop_gradient(made)


@composite()
def normal(
    self: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    mean: Any = None,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers; mean and std may be tensors. [...], [...] -> [...]"""
    mean = self if mean is None else mean
    if size is not None:
        kind = _floating(dtype, "normal_kernel_cpu")
        made = _normal(
            shape_from((size,)), place_of(device), generator, kind, _number(mean), _number(std)
        )
        return finish(made, requires_grad, out)
    given = mean if isinstance(mean, Tensor) else std
    if not isinstance(given, Tensor):
        raise TypeError(
            "normal() received an invalid combination of arguments - expected mean "
            "or std to be a Tensor, or a size"
        )
    if not isinstance(std, Tensor) and not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    kind = _floating(dtype_of(given), "normal_kernel_cpu")
    mean, std = (v if isinstance(v, Tensor) else given.new_full((), v) for v in (mean, std))
    shape = np.broadcast_shapes(size_of(mean), size_of(std))
    unit = _normal(shape, given._value.aval.place, generator, kind)
    return finish(_normal_scaled(mean, std, unit), False, out)


def _sampled(self: Tensor, generator: Any, draw: Any, in_program: Any) -> Tensor:
    """Numbers in the likeness of `self`, from a sampler that works in double precision."""
    own = dtype_of(self).numpy
    return drawn(
        size_of(self),
        self._value.aval.place,
        generator,
        lambda engine, count: draw(engine).astype(own),
        lambda key, size: in_program(key),
        own,
    )


def _doubles(tensor: Tensor) -> Any:
    return to_host(tensor).astype(np.float64).reshape(-1)


@composite()
def poisson(self: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers of these rates. [...] -> [...]"""
    if not dtype_of(self).is_floating_point:
        raise NotImplementedError(f"\"poisson_cpu\" not implemented for '{kind_of(self)}'")
    rates = self.detach()

    def draw(engine: Any) -> Any:
        host = _doubles(rates)
        if (host < 0).any():
            raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
        return rejection.poisson(engine, host)

    made = _sampled(self, generator, draw, lambda key: keyed._key_poisson(key, rates))
    return _poisson_like(self, made)


@op(function=False, saves=(), grad_name="PoissonBackward0")
def _poisson_like(self: Array, new: Array) -> Array:
    """`new`, as a result of `self` to which no gradient flows. [...], [...] -> [...]"""
    return jax.lax.stop_gradient(new)


@composite()
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Binomial numbers. count, prob: [...] -> [...]"""
    for name, tensor in (("count", count), ("prob", prob)):
        if not dtype_of(tensor).is_floating_point:
            raise ValueError(
                f"binomial only supports floating-point dtypes for {name}, got: {kind_of(tensor)}"
            )
    if dtype_of(count) is not dtype_of(prob):
        raise RuntimeError(f"Found dtype {kind_of(prob)} but expected {kind_of(count)}")
    shape = np.broadcast_shapes(size_of(count), size_of(prob))
    count, prob = count.detach().expand(shape), prob.detach().expand(shape)
    return _sampled(
        count,
        generator,
        lambda engine: rejection.binomial(engine, _doubles(count), _doubles(prob)),
        lambda key: keyed._key_binomial(key, count, prob),
    )


@composite("method")
def multinomial(
    self: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Categories drawn by weight. [..., categories] -> [..., num_samples]"""
    rank = self.ndim
    if rank not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not dtype_of(self).is_floating_point:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {kind_of(self)}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > size_of(self)[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    weights = self.detach()
    host = np.atleast_2d(to_host(weights))
    _check_weights(host, replacement and num_samples > 1)
    place = read(weights).aval.place
    shape = (*size_of(self)[:-1], num_samples)

    def draw(engine: Any, count: int) -> Any:
        if replacement and num_samples > 1:
            return rejection.multinomial(engine, _single(host), num_samples).reshape(-1)
        return _first_to_ring(engine, host, num_samples).reshape(-1)

    return drawn(
        shape,
        place,
        generator,
        draw,
        lambda key, size: _key_multinomial(key, weights, num_samples, replacement),
        np.int64,
    )


def _check_weights(host: Any, by_row: bool) -> None:
    plain = host.astype(np.float64)
    if by_row and (plain < 0).any():
        raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
    if by_row and not np.isfinite(plain).all():
        raise RuntimeError(
            "invalid multinomial distribution (encountering probability entry = infinity or NaN)"
        )
    if not (np.isfinite(plain).all() and (plain >= 0).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (plain.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


def _single(host: Any) -> Any:
    return host if host.dtype == np.float64 else host.astype(np.float32)


def _first_to_ring(engine: Any, host: Any, samples: int) -> Any:
    """Without replacement: every category gets an alarm clock; the first ones to ring are taken."""
    clocks = sampling.exponential(engine, host.size, host.dtype, 1.0).reshape(host.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (host / clocks).astype(np.float64)
    if samples == 1:
        return ratio.argmax(-1)
    return np.argsort(-ratio, axis=-1, kind="stable")[:, :samples]


@op(function=False, differentiable=False)
def _key_multinomial(key: Array, weights: Array, samples: int, replacement: bool) -> Array:
    """Categories drawn by weight. key: uint32 [2], weights: [..., n] -> [..., samples]"""
    logits = jnp.log(weights.astype(jnp.float32))
    words = jax.random.wrap_key_data(key, impl="threefry2x32")
    if replacement:
        drawn_first = jax.random.categorical(
            words, logits, axis=-1, shape=(samples, *logits.shape[:-1])
        )
        return jnp.moveaxis(drawn_first, 0, -1).astype(jnp.int64)
    ranked = logits + jax.random.gumbel(words, logits.shape)
    return jnp.argsort(-ranked, axis=-1)[..., :samples].astype(jnp.int64)


@composite(name="_standard_gamma")
def standard_gamma(self: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers of scale 1, differentiable in the shape parameter. [...] -> [...]"""
    own = self.detach()
    kind = dtype_of(self)
    smallest = float(np.finfo(np.float64 if kind is dtypes.float64 else np.float32).tiny)
    made = _sampled(
        own,
        generator,
        lambda engine: rejection.gamma(engine, to_host(own).reshape(-1), smallest),
        lambda key: keyed._key_gamma(key, own),
    )
    return _gamma_grad(self, made)


@op(function=False, grad_name="StandardGammaBackward0")
def _gamma_grad(self: Array, sample: Array) -> Array:
    """The sample, with its derivative by the shape parameter. [...], [...] -> [...]"""
    fixed = jax.lax.stop_gradient(sample)

    @jax.custom_jvp
    def attach(shape: Array) -> Array:
        return fixed

    @attach.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        slope = jax.lax.random_gamma_grad(primals[0], fixed)
        return fixed, slope.astype(fixed.dtype) * tangents[0]

    return attach(self)


@composite(name="_sample_dirichlet")
def sample_dirichlet(self: Tensor, generator: Generator | None = None) -> Tensor:
    """Points of the simplex. concentration: [..., n] -> [..., n]"""
    own = self.detach()
    kind = dtype_of(self)

    def draw(engine: Any) -> Any:
        host = to_host(own)
        made = rejection.gamma(engine, host.reshape(-1).astype(np.float64), 0.0)
        made = made.reshape(host.shape)
        made = made / made.sum(-1, keepdims=True)
        tiny = np.finfo(kind.numpy).tiny if kind.numpy.kind == "f" else 0.0
        return np.clip(made, tiny, None).reshape(-1)

    def in_program(key: Tensor) -> Tensor:
        made = keyed._key_gamma(key, own)
        return made / made.sum(-1, keepdim=True)

    return convert(_sampled(own, generator, draw, in_program), kind, None)
