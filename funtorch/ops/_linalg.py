"""What the linear algebra ops share: checks, and LAPACK's column-major results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch import dtypes
from funtorch.dispatch import to_host
from funtorch.lowering.record import owner
from funtorch.ops._declare import Array
from funtorch.tensor import Tensor


class LinAlgError(RuntimeError):
    """A matrix that has no such decomposition or inverse (`torch.linalg.LinAlgError`)."""


def columns_first(*which: int) -> Any:
    """The memory order of LAPACK's results: matrices column by column. which: outputs (default 0)."""
    outputs = which or (0,)

    def order(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
        if index not in outputs or ndim < 2:
            return None
        return (*range(ndim - 2), ndim - 1, ndim - 2)

    return order


def adjoint(x: Array) -> Array:
    """The conjugate transpose. [..., m, n] -> [..., n, m]"""
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def inexact(name: str, x: Array, *, half: bool = False) -> None:
    """Refuse whole numbers and, unless `half`, the types of 16 bits."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        kind = dtypes.of(x.dtype).name
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {kind}"
        )
    if not half and x.dtype.itemsize == 2:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {x.dtype.name}")


def matrices(name: str, x: Array, what: str = "A") -> None:
    """Require at least two dimensions, floating point or complex."""
    if x.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {what} must have at least 2 dimensions.")
    inexact(name, x)


def square(name: str, x: Array, what: str = "A") -> None:
    """Require (batches of) square matrices."""
    matrices(name, x, what)
    if x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"{name}: {what} must be batches of square matrices, but they are {x.shape[-2]} by "
            f"{x.shape[-1]} matrices"
        )


def same_dtype(name: str, a: Array, b: Array) -> None:
    """Require one dtype."""
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {a.dtype.name} "
            f"and B of type {b.dtype.name} instead"
        )


def readable(tensor: Tensor) -> bool:
    """Has it a value that can be read: not within a transform, not on meta?"""
    return owner().capture is None and tensor.device.type != "meta"


def check_info(name: str, info: Tensor, meaning: str) -> None:
    """Raise LinAlgError if LAPACK's `info` says that the decomposition failed.

    This reads the result, so it waits for it, as PyTorch does; the `_ex` functions do not. Within
    func.grad, func.vmap ... values cannot be read, and nothing is checked.
    """
    if not readable(info):
        return
    found = np.atleast_1d(to_host(info)).reshape(-1)
    for at in np.flatnonzero(found)[:1]:
        where = f"(Batch element {at}): " if info.ndim else ""
        raise LinAlgError(f"{name}: {where}{meaning.format(found[at])}")
