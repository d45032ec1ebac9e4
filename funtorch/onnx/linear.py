"""Matrix products."""

from __future__ import annotations

import jax.numpy as jnp

from funtorch.onnx.rules import Array, kernel, rule
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor


@rule("MatMul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product, batched as NumPy does."""
    return a @ b


@rule("Gemm")
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 0,
) -> Tensor:
    """alpha a b + beta c. a: [M, K], b: [K, N] -> [M, N]"""
    product = (a.t() if transA else a) @ (b.t() if transB else b)
    if alpha != 1:
        product = product * alpha
    if c is None or beta == 0:
        return product
    return product + (c if beta == 1 else c * beta)


@rule("Einsum")
def einsum(*operands: Tensor, equation: str) -> Tensor:
    """Sum of products over named indices."""
    return _einsum_of(list(operands), equation=equation)


@kernel
def _einsum_of(operands: list[Array], *, equation: str) -> Array:
    return jnp.einsum(equation.replace(" ", ""), *operands)


@rule("Det")
def det(x: Tensor) -> Tensor:
    """Determinants of the last two dimensions."""
    return TABLE["det"].facade(x)
