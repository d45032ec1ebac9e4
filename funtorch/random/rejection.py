"""Samplers that draw until they accept: Poisson, binomial, gamma.

How many words one number takes depends on the words, so these go number by number in Python. A
`Cursor` fetches words by the block and gives back what was not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from funtorch.random.engine import Array, Engine
from funtorch.random.sampling import units64

_BLOCK = 256
_THIRD = float(np.float32(1) / np.float32(3))  # PyTorch's constant is in single precision


class Cursor:
    """Uniform and normal numbers in double precision, one at a time."""

    __slots__ = ("_at", "_before", "_block", "_engine", "_used")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._block: list[float] = []
        self._at = 0
        self._used = 0

    def __enter__(self) -> Cursor:
        self._engine.lock.acquire()
        self._before = self._engine.position()
        return self

    def __exit__(self, *exc: object) -> None:
        # Go back to the start, and pass over exactly the words that were used.
        self._engine.go_to(self._before)
        self._engine.words(2 * self._used)
        self._engine.lock.release()

    def uniform(self) -> float:
        """On [0, 1), 53 bits."""
        if self._at == len(self._block):
            self._block = units64(self._engine, _BLOCK).tolist()
            self._at = 0
        number = self._block[self._at]
        self._at += 1
        self._used += 1
        return number

    def normal(self) -> float:
        """Standard normal; every second one is the spare of the pair before."""
        engine = self._engine
        spare = engine.spare_normal
        if spare is not None:
            engine.spare_normal = None
            return spare
        first, second = self.uniform(), self.uniform()
        radius = math.sqrt(-2.0 * math.log1p(-second))
        angle = 2.0 * math.pi * first
        engine.spare_normal = radius * math.sin(angle)
        return radius * math.cos(angle)


def poisson(engine: Engine, rates: Array) -> Array:
    """Poisson numbers. rates: float64 [count] -> float64 [count]"""
    with Cursor(engine) as cursor:
        return np.array([_poisson(rate, cursor) for rate in rates.tolist()], np.float64)


def _poisson(rate: float, cursor: Cursor) -> int:
    if rate >= 10:
        return _poisson_large(rate, cursor)
    if rate == 0:
        return 0
    count, product, limit = 0, 1.0, math.exp(-rate)
    while True:  # arrivals within one unit of time
        product *= cursor.uniform()
        if product <= limit:
            return count
        count += 1


def _poisson_large(rate: float, cursor: Cursor) -> int:
    """Hörmann's transformed rejection with squeeze (PTRS, 1993)."""
    log_rate = math.log(rate)
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    tight = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = cursor.uniform() - 0.5
        v = cursor.uniform()
        us = 0.5 - abs(u)
        if us == 0:
            continue
        k = math.floor((2 * a / us + b) * u + rate + 0.43)
        if us >= 0.07 and v <= tight:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        log_v = _log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
        if log_v <= -rate + k * log_rate - math.lgamma(k + 1):
            return k


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def binomial(engine: Engine, counts: Array, probabilities: Array) -> Array:
    """Binomial numbers. counts, probabilities: float64 [count] -> float64 [count]"""
    pairs = zip(counts.tolist(), probabilities.tolist(), strict=True)
    with Cursor(engine) as cursor:
        return np.array([_binomial(n, p, cursor) for n, p in pairs], np.float64)


def _binomial(n: float, p: float, cursor: Cursor) -> float:
    if n <= 0 or p <= 0:
        return 0.0
    if p >= 1:
        return n
    if math.isnan(p) or math.isnan(n):
        return math.nan
    q = min(p, 1 - p) if p > 0.5 else p
    drawn = _binomial_large(n, q, cursor) if n * q >= 10 else _binomial_small(n, q, cursor)
    return n - drawn if p > 0.5 else drawn


def _binomial_small(n: float, p: float, cursor: Cursor) -> float:
    """Successes counted by the gaps between them, which are geometric."""
    log_q = math.log1p(-p)
    reached, count = 0.0, 0.0
    while True:
        reached += math.ceil(_log(u) / log_q) if (u := cursor.uniform()) > 0 else math.inf
        if reached > n:
            return count
        count += 1


def _binomial_large(n: float, p: float, cursor: Cursor) -> float:
    """Hörmann's transformed rejection with squeeze (BTRS, 1993)."""
    deviation = math.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = n * p + 0.5
    tight = 0.92 - 4.2 / b
    odds = p / (1 - p)
    alpha = (2.83 + 5.1 / b) * deviation
    mode = math.floor((n + 1) * p)
    while True:
        u = cursor.uniform() - 0.5
        v = cursor.uniform()
        us = 0.5 - abs(u)
        if us == 0:
            continue
        k = math.floor((2 * a / us + b) * u + c)
        if us >= 0.07 and v <= tight:
            return float(k)
        if k < 0 or k > n:
            continue
        bound = (
            (mode + 0.5) * math.log((mode + 1) / (odds * (n - mode + 1)))
            + (n + 1) * math.log((n - mode + 1) / (n - k + 1))
            + (k + 0.5) * math.log(odds * (n - k + 1) / (k + 1))
            + _stirling(mode)
            + _stirling(n - mode)
            - _stirling(k)
            - _stirling(n - k)
        )
        if _log(v * alpha / (a / (us * us) + b)) <= bound:
            return float(k)


def _stirling(k: float) -> float:
    """What Stirling's formula for log(k!) leaves over."""
    if k <= 9:
        near = 0.5 * math.log(2 * math.pi) + (k + 0.5) * math.log(k + 1) - (k + 1)
        return math.lgamma(k + 1) - near
    square = (k + 1) * (k + 1)
    return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1)


def gamma(engine: Engine, shapes: Iterable[float], smallest: float) -> Array:
    """Gamma numbers of scale 1, not below `smallest`. shapes: [count] -> float64 [count]"""
    with Cursor(engine) as cursor:
        return np.array([max(_gamma(a, cursor), smallest) for a in shapes], np.float64)


def _gamma(shape: float, cursor: Cursor) -> float:
    """Marsaglia and Tsang (2000); below 1 by the shape one higher and a power of a uniform."""
    scale = 1.0
    if shape < 1:
        if shape == 0:
            return 0.0
        scale = (1 - cursor.uniform()) ** (1 / shape)
        shape += 1
    if not math.isfinite(shape) or shape <= 1 / 3:
        return math.nan
    d = shape - _THIRD
    c = 1 / math.sqrt(9 * d)
    while True:
        y = 0.0
        while y <= 0:
            x = cursor.normal()
            y = 1 + c * x
        v = y * y * y
        u = 1 - cursor.uniform()
        squared = x * x
        if u < 1 - 0.0331 * squared * squared:
            return scale * d * v
        if math.log(u) < 0.5 * squared + d * (1 - v + math.log(v)):
            return scale * d * v


def multinomial(engine: Engine, weights: Any, samples: int) -> Array:
    """Categories drawn with replacement. weights: [rows, categories] -> int64 [rows, samples]"""
    summed = np.cumsum(weights, axis=1, dtype=weights.dtype)
    summed = summed / summed[:, -1:]
    summed[:, -1] = 1
    with engine.lock:
        u = units64(engine, len(weights) * samples).reshape(len(weights), samples)
    found = [np.searchsorted(row.astype(np.float64), x) for row, x in zip(summed, u, strict=True)]
    return np.array(found, np.int64).reshape(u.shape)
