"""Linear algebra that JAX computes with LAPACK, as loops of plain XLA, for programs without Python."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import primitives
from jax.interpreters import mlir

_BLOCK = 32  # columns that are factored one by one before the rest follows in one product


def _panel(a: Any) -> tuple[Any, Any]:
    """LU of [m, k] column by column: (packed factors, permutation of the rows [m])."""
    rows, columns = jnp.arange(a.shape[0]), jnp.arange(a.shape[1])

    def column(k: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        a, order = state
        size = abs(a[:, k].real) + abs(a[:, k].imag)  # as LAPACK measures complex numbers
        best = jnp.argmax(jnp.where(rows >= k, size, -1))
        swap = jnp.where(rows == k, best, jnp.where(rows == best, k, rows))
        a, order = a[swap], order[swap]
        pivot = a[k, k]
        below = (rows > k) & (pivot != 0)
        factor = jnp.where(below, a[:, k] / jnp.where(pivot == 0, 1, pivot), 0)
        a = a - jnp.where(columns > k, factor[:, None] * a[k], 0)
        return a.at[:, k].set(jnp.where(below, factor, a[:, k])), order

    made: tuple[Any, Any] = lax.fori_loop(0, min(a.shape), column, (a, rows))
    return made


def lu(a: Any) -> tuple[Any, Any, Any]:
    """LU with partial pivoting of [..., m, n]: (packed factors, pivots, permutation), as `lax.linalg.lu`.

    Blocked and right-looking: Golub and Van Loan, Matrix Computations, 3.4.
    """
    if a.ndim > 2:
        return jax.vmap(lu)(a)
    m, n = a.shape
    order = jnp.arange(m)
    for first in range(0, min(m, n), _BLOCK):
        last = min(first + _BLOCK, m, n)
        panel, moved = _panel(a[first:, first:last])
        order = order.at[first:].set(order[first:][moved])
        a = a.at[first:].set(a[first:][moved]).at[first:, first:last].set(panel)
        if last < n:
            right = lax.linalg.triangular_solve(
                panel[: last - first], a[first:last, last:],
                left_side=True, lower=True, unit_diagonal=True,
            )  # fmt: skip
            a = a.at[first:last, last:].set(right)
            a = a.at[last:, last:].add(-(a[last:, first:last] @ right))
    return a, _pivots(order, min(m, n)), order.astype("int32")


def _pivots(order: Any, count: int) -> Any:
    """The row exchanges [count] that make up a permutation [m]."""

    def step(k: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        now, pivots = state
        at = jnp.argmax(now == order[k])
        return now.at[at].set(now[k]).at[k].set(order[k]), pivots.at[k].set(at.astype("int32"))

    start = jnp.arange(order.shape[0]), jnp.zeros(count, "int32")
    return lax.fori_loop(0, count, step, start)[1]


# For `jax.export`: (primitive, how it is lowered instead).
RULES = ((primitives.lu_p, mlir.lower_fun(lu, multiple_results=True)),)
