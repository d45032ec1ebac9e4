"""Matrix products."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from funtorch.tensorflow.emission import extents, rule


@rule("MatMul")
def matmul(a: Any, b: Any) -> Any:
    """Product as NumPy's matmul. [..., n, k], [..., k, m] -> [..., n, m]"""
    if a.shape.rank == 1 and b.shape.rank == 1:
        return tf.tensordot(a, b, 1)
    if a.shape.rank == 1:
        return tf.squeeze(tf.matmul(a[None], b), -2)
    if b.shape.rank == 1:
        return tf.linalg.matvec(a, b)
    return tf.matmul(a, b)


@rule("Gemm")
def gemm(
    a: Any,
    b: Any,
    c: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 1,
) -> Any:
    """alpha a b + beta c."""
    made = tf.matmul(a, b, transpose_a=bool(transA), transpose_b=bool(transB))
    made = made if alpha == 1 else tf.cast(alpha, a.dtype) * made
    if c is None:
        return made
    return made + (c if beta == 1 else tf.cast(beta, a.dtype) * c)


@rule("Einsum")
def einsum(*tensors: Any, equation: str) -> Any:
    """Sums of products, as the equation says."""
    return tf.einsum(equation.replace(" ", ""), *tensors)


@rule("Det")
def det(x: Any) -> Any:
    """Determinants. [..., n, n] -> [...]"""
    return tf.linalg.det(x)


@rule("MatMulInteger")
def matmul_integer(a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    """Product of integers less their zero points, in int32."""
    a, b = tf.cast(a, tf.int32), tf.cast(b, tf.int32)
    if a_zero is not None:
        zero = tf.cast(a_zero, tf.int32)
        a -= zero[..., None] if zero.shape.rank == 1 else zero
    return matmul(a, b if b_zero is None else b - tf.cast(b_zero, tf.int32))


@rule("QLinearMatMul")
def q_linear_matmul(
    a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any
) -> Any:
    """Product of quantised matrices, quantised again."""
    rows = a_scale[..., None] if a_scale.shape.rank == 1 and extents(a_scale) != [1] else a_scale
    product = tf.cast(matmul_integer(a, b, a_zero, b_zero), tf.float32)
    real = tf.round(product * tf.cast(rows * b_scale / y_scale, tf.float32))
    shifted = real + tf.cast(y_zero, tf.float32)
    return tf.saturate_cast(shifted, y_zero.dtype)
