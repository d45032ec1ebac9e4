"""How PyTorch's CPU samplers turn words into numbers, vectorised.

Every function takes the engine, draws under its lock, and consumes exactly the words that PyTorch
would. The arithmetic is PyTorch's too, down to where it rounds: `x * (high - low) + low` is one
fused multiply-add there, for instance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funtorch.random.engine import Array, Engine

_MASK24 = np.uint32(0xFFFFFF)
_MASK53 = np.uint64((1 << 53) - 1)
_HIGH21 = np.uint32(0x1FFFFF)
_CHUNK = 1 << 15  # numbers drawn at a time where that keeps the words in the processor's cache


def units(engine: Engine, count: int) -> Array:
    """Uniform on [0, 1) with 24 bits. -> float32 [count]"""
    out = np.empty(count, np.float32)
    scale = np.float32(2.0**-24)
    for start in range(0, count, _CHUNK):
        part = out[start : start + _CHUNK]
        # As int32, which the processor turns into floats faster than uint32; 24 bits fit both.
        words = (engine.words(len(part)) & _MASK24).view(np.int32)
        np.multiply(words, scale, out=part, casting="unsafe", dtype=np.float32)
    return out


def units64(engine: Engine, count: int) -> Array:
    """Uniform on [0, 1) with 53 bits. -> float64 [count]"""
    out = np.empty(count, np.float64)
    for start in range(0, count, _CHUNK):
        part = out[start : start + _CHUNK]
        words = engine.words(2 * len(part))
        # high * 2^-21 + low * 2^-53 is exact: the halves do not overlap.
        np.multiply(words[0::2] & _HIGH21, 2.0**-21, out=part)
        part += words[1::2] * 2.0**-53
    return out


def uniform(engine: Engine, count: int, dtype: Any, low: float, high: float) -> Array:
    """Uniform on [low, high). -> dtype [count]"""
    with engine.lock:
        if dtype == np.float64:
            x = units64(engine, count)
            if (low, high) == (0.0, 1.0):
                return x
            return _open_above(_fma(x, high - low, low), low, high)
        x = units(engine, count)
    if (low, high) != (0.0, 1.0):
        base = np.float32(low)
        width = np.float32(np.float32(high) - base)
        # Products of two float32 are exact in float64, so this rounds once, as an FMA does.
        x = (x.astype(np.float64) * float(width) + float(base)).astype(np.float32)
    return _open_above(x if dtype == np.float32 else x.astype(dtype), low, high)


def _open_above(x: Array, low: float, high: float) -> Array:
    """Numbers that were rounded up to the excluded upper end become the lower end."""
    reached = x == x.dtype.type(high)
    if reached.any():
        x[reached] = low
    return x


def _fma(x: Array, factor: float, addend: float) -> Array:
    """x * factor + addend in float64, rounded once: the rounding errors of both steps added."""
    product = x * factor
    split = 134217729.0  # 2^27 + 1 cuts a float64 into halves whose products are exact
    xh = x * split - (x * split - x)
    fh = factor * split - (factor * split - factor)
    xl, fl = x - xh, factor - fh
    low = ((xh * fh - product) + xh * fl + xl * fh) + xl * fl
    total = product + addend
    back = total - product
    return total + (((product - (total - back)) + (addend - back)) + low)


def normal(
    engine: Engine, count: int, dtype: Any, mean: float, std: float, *, serial: bool = False
) -> Array:
    """Normal numbers. -> dtype [count]

    serial: the way PyTorch takes for fewer than 16 numbers and for memory with gaps or transposed:
    pairs in double precision, of which the second is kept for later.
    """
    with engine.lock:
        if serial or count < 16:
            return _fma(serial_normal(engine, count), std, mean).astype(dtype)
        if dtype == np.float64:
            return _box_muller(engine, count, units64, np.float64, mean, std)
        if dtype == np.float32:
            return _box_muller(engine, count, units, np.float32, mean, std)
        return _half_normal(engine, count, mean, std).astype(dtype)


def _box_muller(
    engine: Engine, count: int, draw: Any, dtype: Any, mean: float, std: float
) -> Array:
    """Blocks of 16: eight radii, then eight angles. A last short block is filled by redrawing the
    last sixteen numbers. -> dtype [count]"""
    whole = count - count % 16
    out = np.empty(count, dtype)
    x = draw(engine, count)
    for start in range(0, whole, _CHUNK):
        end = min(start + _CHUNK, whole)
        _blocks(x[start:end], out[start:end], dtype, mean, std)
    if whole != count:
        _blocks(draw(engine, 16), out[count - 16 :], dtype, mean, std)
    return out


def _half_normal(engine: Engine, count: int, mean: float, std: float) -> Array:
    """Like `_box_muller`, but the last short block comes from the words that follow the whole ones.
    -> float32 [count]"""
    whole = count - count % 16
    out = np.empty(count, np.float32)
    _blocks(units(engine, whole), out[:whole], np.float32, mean, std)
    if whole != count:
        _blocks(units(engine, 16), out[count - 16 :], np.float32, mean, std)
    return out


def _blocks(x: Array, out: Array, dtype: Any, mean: float, std: float) -> None:
    """Box-Muller on whole blocks. x, out: dtype [16 n]"""
    pairs, made = x.reshape(-1, 2, 8), out.reshape(-1, 2, 8)
    radius = np.sqrt(dtype(-2) * np.log(dtype(1) - pairs[:, 0]))
    angle = dtype(2 * math.pi) * pairs[:, 1]
    np.multiply(radius, np.cos(angle), out=made[:, 0])
    np.multiply(radius, np.sin(angle), out=made[:, 1])
    if std != 1 or mean != 0:
        if dtype is np.float32:
            out[...] = out.astype(np.float64) * float(dtype(std)) + float(dtype(mean))
        else:
            out[...] = _fma(out, std, mean)


def serial_normal(engine: Engine, count: int) -> Array:
    """Standard normal numbers in pairs, in double precision. -> float64 [count]"""
    out = np.empty(count, np.float64)
    start = 0
    if count and engine.spare_normal is not None:
        out[0], start = engine.spare_normal, 1
        engine.spare_normal = None
    pairs = (count - start + 1) // 2
    if pairs:
        u = units64(engine, 2 * pairs).reshape(pairs, 2)
        radius = np.sqrt(-2.0 * np.log1p(-u[:, 1]))
        angle = 2.0 * math.pi * u[:, 0]
        made = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)
        out[start:] = made[: count - start]
        if (count - start) % 2:
            engine.spare_normal = float(made[-1])
    return out


def below(engine: Engine, count: int, probability: float) -> Array:
    """Is a 53-bit uniform number below `probability`? -> bool [count]

    The high 21 bits decide nearly always, so the low words are looked at only on a tie.
    """
    limit = max(0, min(math.ceil(probability * 2.0**53), 1 << 53))
    high, low = limit >> 32, np.uint32(limit & 0xFFFFFFFF)
    out = np.empty(count, np.bool_)
    with engine.lock:
        for start in range(0, count, _CHUNK):
            part = out[start : start + _CHUNK]
            words = engine.words(2 * len(part))
            top = words[0::2] & _HIGH21
            np.less(top, high, out=part)
            ties = top == high
            if ties.any():
                part |= ties & (words[1::2] < low)
    return out


def integers(engine: Engine, count: int, low: int, high: int) -> Array:
    """Integers on [low, high), modulo 2^64. -> int64 [count]"""
    span = high - low
    with engine.lock:
        if span < 1 << 28:
            made = (engine.words(count) % np.uint32(span)).astype(np.int64)
            made += np.int64(low)
            return made
        wide = engine.wide(count)
    if span < 1 << 64:
        wide %= np.uint64(span)
        wide += np.uint64(low & 0xFFFFFFFFFFFFFFFF)
    return wide.view(np.int64)


def full_range(engine: Engine, count: int, dtype: Any) -> Array:
    """What `random_()` fills in: all non-negative values of the type; for floats, all integers
    up to which the type is gapless. -> dtype [count]"""
    kind = np.dtype(dtype)
    with engine.lock:
        if kind == np.bool_:
            return (engine.words(count) & np.uint32(1)).astype(np.bool_)
        if kind.kind in "iu":
            top = np.iinfo(kind).max
            wide = kind.itemsize == 8
        else:
            top = 1 << {"float64": 53, "float32": 24, "float16": 11}.get(kind.name, 8)
            wide = kind == np.float64
        made = engine.wide(count) if wide else engine.words(count).astype(np.uint64)
    if top + 1 < 1 << 64:
        made %= np.uint64(top + 1)
    return made.astype(dtype)


def exponential(engine: Engine, count: int, dtype: Any, rate: float) -> Array:
    """Exponential numbers. -> dtype [count]"""
    with engine.lock:
        x = units64(engine, count)
    return (-1.0 / rate * np.log1p(-x)).astype(dtype)


def geometric(engine: Engine, count: int, dtype: Any, p: float) -> Array:
    """How many trials until the first success. -> dtype [count]"""
    with engine.lock:
        x = units64(engine, count)
    with np.errstate(divide="ignore"):
        return np.ceil(np.log(x) / math.log1p(-p)).astype(dtype)


def cauchy(engine: Engine, count: int, dtype: Any, median: float, sigma: float) -> Array:
    """Cauchy numbers. -> dtype [count]"""
    with engine.lock:
        x = units64(engine, count)
    eps = np.finfo(np.float64).eps
    x = np.clip(x, eps, 1.0 - eps)  # keeps clear of the poles of the tangent
    return _fma(np.tan(math.pi * (x - 0.5)), sigma, median).astype(dtype)


def log_normal(engine: Engine, count: int, dtype: Any, mean: float, std: float) -> Array:
    """Numbers whose logarithm is normal. -> dtype [count]"""
    with engine.lock:
        x = serial_normal(engine, count)
    return np.exp(_fma(x, std, mean)).astype(dtype)


def permutation(engine: Engine, count: int) -> Array:
    """Fisher-Yates, position i exchanged with i + word % (count - i), without a loop.
    -> int64 [count]

    Position p holds, when step i comes, what the last step k < i that chose p put there: the
    content of position k at step k. That makes a forest (k's parent is the last step before k that
    chose k), whose roots pointer jumping finds in log(depth) rounds.
    """
    if count < 2:
        return np.arange(count)
    with engine.lock:
        words = engine.words(count - 1)
    steps = np.arange(count, dtype=np.uint32)
    chosen = steps.copy()  # the last position chooses itself
    chosen[:-1] += words % np.arange(count, 1, -1, dtype=np.uint32)
    # One sort by position chosen, then by step: pairs of 32 bits compared as 64.
    pairs = np.empty((count, 2), np.uint32)
    pairs[:, 0], pairs[:, 1] = steps, chosen
    ordered = pairs.view(np.uint64)[:, 0]
    ordered.sort()
    step, place = ordered.view(np.uint32).reshape(count, 2).T
    opens = np.empty(count, np.bool_)  # no earlier step chose this position
    opens[0] = True
    np.not_equal(place[1:], place[:-1], out=opens[1:])
    before = np.empty(count, np.uint32)  # the step that had chosen the same; count: none
    before[step] = np.where(opens, count, np.roll(step, 1))
    source = _roots(steps, step, place, opens, before)
    out = np.where(before < count, before, steps)
    out = np.where((before < count) | (chosen == steps), source[out], chosen)
    return out.astype(np.int64)


def _roots(steps: Array, step: Array, place: Array, opens: Array, before: Array) -> Array:
    """Where that began which each position holds when its own step comes. -> uint32 [count]"""
    count = len(steps)
    ends = np.roll(opens, -1)
    last = step[ends]
    targets = place[ends]
    # A step that chose its own position moved nothing into it: look at the one before.
    last = np.where(last == targets, before[targets], last)
    moved = last < count
    source = steps.copy()
    source[targets[moved]] = last[moved]
    active = targets[moved]
    while len(active):
        further = source[source[active]]
        changed = further != source[active]
        active = active[changed]
        source[active] = further[changed]
    return source
