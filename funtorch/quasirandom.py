"""torch.quasirandom: Sobol sequences, computed on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from funtorch.dtypes import dtype as Dtype
from funtorch.dtypes import get_default_dtype
from funtorch.ops.random import randint
from funtorch.random.generator import Generator
from funtorch.tensor import Tensor, from_host

Ints = np.ndarray[Any, np.dtype[np.int64]]


class SobolEngine:
    """Points of low discrepancy in the unit cube (Sobol, 1967), optionally scrambled (Owen, 1998).

    Directions are those of Joe and Kuo (2008), which SciPy brings. Raises ValueError for a dimension
    that they do not reach.
    """

    MAXBIT = 30
    MAXDIM = 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None) -> None:
        if dimension > self.MAXDIM or dimension < 1:
            raise ValueError(
                f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}]"
            )
        self.seed, self.scramble, self.dimension = seed, scramble, dimension
        self._directions, self._shift = _directions(dimension), np.zeros(dimension, np.int64)
        if scramble:
            self._scramble()
        self._last, self.num_generated = self._shift, 0

    @property
    def sobolstate(self) -> Tensor:
        """Directions as whole numbers: [dimension, 30]"""
        return from_host(self._directions)

    @property
    def shift(self) -> Tensor:
        """The first point as whole numbers: [dimension]"""
        return from_host(self._shift)

    @property
    def quasi(self) -> Tensor:
        """The last point as whole numbers: [dimension]"""
        return from_host(self._last)

    def _scramble(self) -> None:
        generator = None if self.seed is None else Generator().manual_seed(self.seed)
        drawn = randint(2, (self.dimension, self.MAXBIT), generator=generator).numpy()
        self._shift = (drawn << np.arange(self.MAXBIT)).sum(-1)
        shape = (self.dimension, self.MAXBIT, self.MAXBIT)
        lower = np.tril(randint(2, shape, generator=generator).numpy(), -1) | np.eye(
            self.MAXBIT, dtype=np.int64
        )
        rows = (lower << np.arange(self.MAXBIT)[::-1]).sum(-1)  # [dimension, 30], as whole numbers
        scrambled = np.zeros_like(self._directions)
        for p in range(self.MAXBIT):
            odd = np.bitwise_count(rows[:, p, None] & self._directions).astype(np.int64) & 1
            scrambled |= odd << (self.MAXBIT - 1 - p)
        self._directions = scrambled

    def _advanced(self, n: int) -> Ints:
        """The next n points as whole numbers [n, dimension]; they follow Gray's code."""
        start = max(self.num_generated, 1)
        self.num_generated += n
        steps = np.arange(start - 1, self.num_generated - 1)
        turned = np.bitwise_count((steps ^ (steps + 1)) >> 1)  # how many ones a step ends with
        changes = [self._last[None], self._directions[:, turned].T]
        points = np.bitwise_xor.accumulate(np.concatenate(changes), 0)
        self._last = points[-1]
        return points[len(points) - n :]

    def draw(self, n: int = 1, out: Tensor | None = None, dtype: Dtype | None = None) -> Tensor:
        """The next n points: [n, dimension]"""
        begun = self.num_generated > 0
        points = self._advanced(n) / 2**self.MAXBIT
        if not begun:  # PyTorch keeps the first point in its default dtype
            points[:1] = points[:1].astype(get_default_dtype().numpy)
        result = from_host(points).to(get_default_dtype() if dtype is None else dtype)
        return result if out is None else out.resize_as_(result).copy_(result)

    def draw_base2(self, m: int, out: Tensor | None = None, dtype: Dtype | None = None) -> Tensor:
        """The next 2**m points: [2**m, dimension]. Raises ValueError if balance would be lost."""
        total = self.num_generated + 2**m
        if total & (total - 1):
            raise ValueError(
                "The balance properties of Sobol' points require n to be a power of 2. "
                f"{self.num_generated} points have been previously generated, then: "
                f"n={self.num_generated}+2**{m}={total}. If you still want to do this, please use "
                "'SobolEngine.draw()' instead."
            )
        return self.draw(2**m, out=out, dtype=dtype)

    def reset(self) -> SobolEngine:
        """Back to the first point."""
        self._last, self.num_generated = self._shift, 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Skip n points."""
        self._advanced(n)
        return self

    def __repr__(self) -> str:
        fields = [f"dimension={self.dimension}"]
        fields += ["scramble=True"] if self.scramble else []
        fields += [] if self.seed is None else [f"seed={self.seed}"]
        return f"{type(self).__name__}({', '.join(fields)})"


def _directions(dimension: int) -> Ints:
    from scipy.stats import _sobol  # slow to import; nothing public shows these numbers

    found = np.zeros((dimension, SobolEngine.MAXBIT), np.uint64)
    _sobol._initialize_v(found, dim=dimension, bits=SobolEngine.MAXBIT)
    return found.astype(np.int64)
