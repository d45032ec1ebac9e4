"""Products of matrices and vectors."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from funtorch.ops._declare import Array, Order, Scalar, composite, op
from funtorch.ops._orders import like_input
from funtorch.tensor import Tensor

BOTH = ("self", "mat2")


def _same_dtype(name: str, *arrays: Array) -> None:
    if len({a.dtype for a in arrays}) > 1:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {arrays[0].dtype} != "
            f"{arrays[1].dtype} ({name})"
        )


def _product(a: Array, b: Array) -> Array:
    """matmul; bool has no products in PyTorch, integers multiply as they are."""
    if a.dtype == jnp.bool_:
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    return jnp.matmul(a, b)


@op("method", saves=("self", "other"), grad_name="MmBackward0", aliases=("linalg.matmul",))
def matmul(self: Array, other: Array) -> Array:
    """The matrix product with broadcasting. [..., n, k], [..., k, m] -> [..., n, m]"""
    if not self.ndim or not other.ndim:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {self.ndim}D and "
            f"{other.ndim}D"
        )
    _same_dtype("matmul", self, other)
    inner = other.shape[0] if other.ndim == 1 else other.shape[-2]
    if self.shape[-1] != inner:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({_as_matrix(self)} and "
            f"{_as_matrix(other)})"
        )
    return _product(self, other)


def _as_matrix(x: Array) -> str:
    return "x".join(map(str, x.shape))


@op("method", saves=BOTH)
def mm(self: Array, mat2: Array) -> Array:
    """The product of two matrices. [n, k], [k, m] -> [n, m]"""
    for name, x in (("self", self), ("mat2", mat2)):
        if x.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix")
    _same_dtype("mm", self, mat2)
    if self.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({_as_matrix(self)} and {_as_matrix(mat2)})"
        )
    return _product(self, mat2)


@op("method", saves=BOTH)
def bmm(self: Array, mat2: Array) -> Array:
    """Products of matrices in a batch. [b, n, k], [b, k, m] -> [b, n, m]"""
    if self.ndim != 3 or mat2.ndim != 3:
        raise RuntimeError(f"batch1 must be a 3D tensor, got {self.ndim}D and {mat2.ndim}D")
    _same_dtype("bmm", self, mat2)
    if self.shape[0] != mat2.shape[0] or self.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{self.shape[0]}, "
            f"{self.shape[2]}] but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return _product(self, mat2)


@op("method", saves=("self", "vec"))
def mv(self: Array, vec: Array) -> Array:
    """A matrix times a vector. [n, k], [k] -> [n]"""
    if self.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {self.ndim}, {vec.ndim}")
    if self.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({self.shape[0]}), mat "
            f"({_as_matrix(self)}), vec ({vec.shape[0]})"
        )
    _same_dtype("mv", self, vec)
    return _product(self, vec)


@op("method", saves=("self", "tensor"))
def dot(self: Array, tensor: Array) -> Array:
    """The product of two vectors. [n], [n] -> []"""
    if self.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {self.ndim}D and {tensor.ndim}D tensors")
    if self.dtype != tensor.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {self.dtype} and "
            f"{tensor.dtype}"
        )
    if self.shape != tensor.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{self.shape[0]}] and src "
            f"[{tensor.shape[0]}] to have the same number of elements"
        )
    return _product(self, tensor)


@op("method", saves=("self", "other"))
def vdot(self: Array, other: Array) -> Array:
    """The product of the conjugate of one vector with another. [n], [n] -> []"""
    if self.ndim != 1 or other.ndim != 1 or self.shape != other.shape:
        raise RuntimeError(
            f"1D tensors of one size expected, but got {list(self.shape)} and {list(other.shape)}"
        )
    if self.dtype != other.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {self.dtype} and "
            f"{other.dtype}"
        )
    return _product(jnp.conj(self), other)


@op("method", promote="arith", saves=("self", "vec2"), aliases=("ger",), out="cast")
def outer(self: Array, vec2: Array) -> Array:
    """All products of the elements of two vectors. [n], [m] -> [n, m]"""
    if self.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(
            f"outer: Expected 1-D argument self, but got {self.ndim}-D and {vec2.ndim}-D"
        )
    return self[:, None] * vec2[None, :]


@composite("method")
def inner(self: Tensor, other: Tensor) -> Tensor:
    """Products over the last dimensions. [..., k], [..., k] -> [..., ...]"""
    return _inner(self, other) if self.ndim and other.ndim else self * other


@op(function=False, promote="arith", saves=("self", "other"), grad_name="InnerBackward0")
def _inner(self: Array, other: Array) -> Array:
    if self.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(self.shape)} and {list(other.shape)}"
        )
    return jnp.inner(self, other)


def _scaled_sum(base: Array, product: Array, beta: Scalar, alpha: Scalar) -> Array:
    if jnp.issubdtype(base.dtype, jnp.integer):
        beta, alpha = (jnp.asarray(n).astype(base.dtype) for n in (beta, alpha))
    if not isinstance(alpha, int | float) or alpha != 1:
        product = product * alpha
    if isinstance(beta, int | float) and beta == 0:
        return jnp.broadcast_to(product, jnp.broadcast_shapes(base.shape, product.shape))
    scaled = base if isinstance(beta, int | float) and beta == 1 else base * beta
    if jnp.broadcast_shapes(scaled.shape, product.shape) != product.shape:
        raise RuntimeError(
            f"The expanded size of the tensor ({list(product.shape)}) must match the existing size "
            f"({list(base.shape)})"
        )
    return (scaled + product).astype(base.dtype)


@composite()
def spmm(self: Tensor, mat2: Tensor) -> Tensor:
    """`mm`, which takes sparse matrices too. [n, k], [k, m] -> [n, m]"""
    return mm(self, mat2)


def _fused(
    name: str,
    multiply: Any,
    names: tuple[str, str],
    meaning: str,
    out: str = "exact",
    order: Order | None = None,
    rounded: bool = False,
) -> Any:
    """rounded: the product, of alpha times the first factor, is rounded before it is added."""
    first, second = names

    def body(
        self: Array, mat1: Array, mat2: Array, *, beta: Scalar = 1, alpha: Scalar = 1
    ) -> Array:
        _same_dtype(name, mat1, mat2)
        return _scaled_sum(self, multiply(mat1, mat2), beta, alpha)

    body.__name__ = name
    body.__doc__ = f"beta * self + alpha * {meaning}"
    body.__signature__ = _signature(first, second)  # type: ignore[attr-defined]

    def steps(
        self: Array, mat1: Array, mat2: Array, *, beta: Scalar = 1, alpha: Scalar = 1
    ) -> Array:
        wide = multiply((mat1 * alpha).astype(jnp.float64), mat2.astype(jnp.float64))
        product = lax.reduce_precision(wide, exponent_bits=8, mantissa_bits=23)
        return _scaled_sum(self, product.astype(self.dtype), beta, 1)

    single = steps if rounded else None
    return op("method", "inplace", saves=names, out=out, order=order, single=single)(body)


def _signature(first: str, second: str) -> Any:

    kinds = inspect.Parameter

    def positional(n: str) -> Any:
        return kinds(n, kinds.POSITIONAL_OR_KEYWORD, annotation="Array")

    def number(n: str) -> Any:
        return kinds(n, kinds.KEYWORD_ONLY, annotation="Scalar", default=1)

    return inspect.Signature(
        [positional("self"), positional(first), positional(second), number("beta"), number("alpha")]
    )


def _matrices(a: Array, b: Array) -> Array:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({_as_matrix(a)} and {_as_matrix(b)})"
        )
    return _product(a, b)


def _batches(a: Array, b: Array) -> Array:
    if a.ndim != 3 or b.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{a.shape[0]}, {a.shape[2]}] but got: [{b.shape[0]}, {b.shape[1]}]."
        )
    return _product(a, b)


addmm = _fused("addmm", _matrices, ("mat1", "mat2"), "mat1 @ mat2. [n, k], [k, m] -> [n, m]")
addmv = _fused("addmv", _product, ("mat", "vec"), "mat @ vec. [n, k], [k] -> [n]")
addbmm = _fused(
    "addbmm",
    lambda a, b: _batches(a, b).sum(0),
    ("batch1", "batch2"),
    "the sum of batch1 @ batch2. [b, n, k], [b, k, m] -> [n, m]",
)
baddbmm = _fused(
    "baddbmm", _batches, ("batch1", "batch2"), "batch1 @ batch2. [b, n, k], [b, k, m] -> [b, n, m]"
)
addr = _fused(
    "addr",
    lambda a, b: a[:, None] * b[None, :],
    ("vec1", "vec2"),
    "vec1 outer vec2. [n], [m] -> [n, m]",
    out="cast",
    order=like_input,
    rounded=True,
)


@op(
    "functional",
    function=False,
    saves=("self", "weight"),
    name="linear",
    grad_name="AddmmBackward0",
)
def linear(self: Array, weight: Array, bias: Array | None = None) -> Array:
    """x @ weight.T + bias. [..., in], [out, in], [out] -> [..., out]"""
    if self.dtype != weight.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {self.dtype} and {weight.dtype}"
        )
    if not self.ndim or self.shape[-1] != weight.shape[-1]:
        rows = 1 if self.ndim < 2 else self.size // max(self.shape[-1], 1)
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{self.shape[-1] if self.ndim else 0}"
            f" and {weight.shape[-1]}x{weight.shape[0]})"
        )
    out = lax.dot_general(self, weight, (((self.ndim - 1,), (weight.ndim - 1,)), ((), ())))
    return out if bias is None else out + bias


@op("functional", saves=("input1", "input2", "weight"))
def bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None = None) -> Array:
    """x1 weight x2 + bias. [..., a], [..., b], [out, a, b] -> [..., out]"""
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError("bilinear(): input batch dimensions do not match")
    out = jnp.einsum("...a,oab,...b->...o", input1, weight, input2)
    return out if bias is None else out + bias


@op(function=False, grad_name="EinsumBackward0")
def _einsum(equation: str, operands: list[Array]) -> Array:
    made = jnp.einsum(equation, *operands)
    if jnp.issubdtype(made.dtype, jnp.integer) and _sums(equation):
        return made.astype(jnp.int64)
    return made


def _sums(equation: str) -> bool:
    """Is a label of one operand alone summed? PyTorch sums such in int64."""
    given, arrow, kept = equation.partition("->")
    operands = [set(part) - {"."} for part in given.split(",")]
    alone = [x for part in operands for x in part if sum(x in other for other in operands) == 1]
    return any(x not in kept if arrow else given.count(x) > 1 for x in alone)


@composite()
def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products by Einstein's convention: einsum('bij,bjk->bik', x, y)."""
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    if not isinstance(equation, str):
        raise NotImplementedError("einsum with sublists: write the equation as a string")
    try:
        return _einsum(equation.replace(" ", ""), list(operands))
    except (ValueError, RuntimeError) as error:
        raise RuntimeError(f"einsum(): {error}") from error


@op(function=False, grad_name="TensordotBackward0")
def _tensordot(a: Array, b: Array, dims: Any) -> Array:
    if isinstance(dims, tuple):
        # PyTorch lets a dimension of one meet any other, by summing that first.
        left, right = ([d % x.ndim for d in ds] for ds, x in zip(dims, (a, b), strict=True))
        for i, j in zip(left, right, strict=True):
            if a.shape[i] == 1 and b.shape[j] != 1:
                b = b.sum(j, keepdims=True, dtype=b.dtype)
            elif b.shape[j] == 1 and a.shape[i] != 1:
                a = a.sum(i, keepdims=True, dtype=a.dtype)
        dims = (left, right)
    return jnp.tensordot(a, b, dims)


@composite()
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Products summed over chosen dimensions of both."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    return _tensordot(a, b, dims)


def _like_both(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
    """The order of the first operand, if the second is not contiguous either."""
    return like_input(index, ndim, args) if args[1]._stride is not None else None


@op("method", promote="arith", out="cast", order=_like_both)
def kron(self: Array, other: Array) -> Array:
    """Kronecker product."""
    if self.dtype == jnp.bool_:
        return jnp.kron(self.astype(jnp.int8), other.astype(jnp.int8)).astype(jnp.bool_)
    return jnp.kron(self, other)


@op("method", promote="arith", aliases=("linalg.cross",))
def cross(self: Array, other: Array, dim: int | None = None) -> Array:
    """The cross product of vectors of three. [..., 3, ...], [..., 3, ...] -> [..., 3, ...]"""
    if dim is None:
        dim = next((d for d, n in enumerate(self.shape) if n == 3), -1)
    if self.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    if self.shape[dim] != 3 or other.shape[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {self.shape[dim]} and "
            f"{other.shape[dim]}"
        )
    self, other = jnp.broadcast_arrays(self, other)
    return jnp.cross(self, other, axis=dim)


@op("method", saves=("self",))
def trace(self: Array) -> Array:
    """The sum of a matrix's diagonal. [n, m] -> []"""
    if self.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {self.ndim}")
    x = self if jnp.issubdtype(self.dtype, jnp.inexact) else self.astype(jnp.int64)
    return jnp.trace(x)
