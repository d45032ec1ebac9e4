"""Joining, repeating, flipping, and triangles: shape ops that copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.device import device_of
from funtorch.dispatch import to_host
from funtorch.ops._declare import Array, composite, op
from funtorch.ops._orders import by_channels
from funtorch.ops.memory import FORMATS
from funtorch.ops.view_ops import ints, wrap_dim
from funtorch.size import Size as Shape
from funtorch.tensor import Tensor, from_host, size_of

Ints = Any
Size = Any


def _something_to_cat(tensors: list[Array], dim: int) -> None:
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")


def _something_to_stack(tensors: list[Array], dim: int) -> None:
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")


_channels_kept = by_channels(4, 5)


def _shared_order(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
    """Channels innermost if all tensors have them so."""
    orders = [_channels_kept(index, ndim, (tensor,)) for tensor in args[0]]
    return None if None in orders else orders[0]


@op(
    promote="arith",
    saves=(),
    aliases=("concat", "concatenate"),
    out="cast apart",
    check=_something_to_cat,
    order=_shared_order,
)
def cat(tensors: list[Array], dim: int = 0) -> Array:
    """Tensors joined along a dimension. [..., n_i, ...] -> [..., sum n_i, ...]"""
    if any(t.ndim == 0 for t in tensors):
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    # PyTorch lets empty vectors join anything.
    real = [t for t in tensors if t.shape != (0,)]
    if not real:
        return tensors[0]
    d = wrap_dim(dim, real[0].ndim)
    first = real[0].shape
    for i, t in enumerate(real):
        if t.ndim != len(first):
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {len(first)} and {t.ndim}"
            )
        for k, (n, m) in enumerate(zip(t.shape, first, strict=True)):
            if k != d and n != m:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {m} but "
                    f"got size {n} for tensor number {i} in the list."
                )
    return jnp.concatenate(real, d)


@op(promote="arith", saves=(), out="cast", check=_something_to_stack)
def stack(tensors: list[Array], dim: int = 0) -> Array:
    """Tensors joined along a new dimension. n × [...] -> [..., n, ...]"""
    first = tensors[0].shape
    for i, t in enumerate(tensors):
        if t.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 "
                f"and {list(t.shape)} at entry {i}"
            )
    return jnp.stack(tensors, wrap_dim(dim, len(first) + 1))


def _stacker(name: str, lift: Any, dim: Any, aliases: tuple[str, ...] = ()) -> Any:
    def function(tensors: Any) -> Tensor:
        if not isinstance(tensors, list | tuple):
            raise TypeError(
                f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not "
                f"{type(tensors).__name__}"
            )
        if not tensors:
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        lifted = [lift(t) for t in tensors]
        return cat(lifted, dim(lifted[0]))

    function.__name__ = name
    function.__doc__ = f"Tensors joined as NumPy's {name} does."
    return composite(aliases=aliases, out="cast")(function)


def _atleast(ndim: int) -> Any:
    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
            tensors = tuple(tensors[0])
        made = tuple(_lifted(t, ndim) for t in tensors)
        return made[0] if len(made) == 1 else made

    function.__name__ = f"atleast_{ndim}d"
    function.__doc__ = f"Tensors with at least {ndim} dimensions."
    return composite()(function)


def _lifted(tensor: Tensor, ndim: int) -> Tensor:
    have = len(size_of(tensor))
    if have >= ndim:
        return tensor
    if ndim == 3 and have == 2:
        return tensor.unsqueeze(-1)
    if ndim == 3 and have == 1:
        return tensor.reshape(1, -1, 1)
    return tensor.reshape((1,) * (ndim - have) + size_of(tensor))


atleast_1d, atleast_2d, atleast_3d = (_atleast(n) for n in (1, 2, 3))
hstack = _stacker("hstack", lambda t: _lifted(t, 1), lambda t: 0 if t.ndim == 1 else 1)
vstack = _stacker("vstack", lambda t: _lifted(t, 2), lambda t: 0, ("row_stack",))
dstack = _stacker("dstack", lambda t: _lifted(t, 3), lambda t: 2)
column_stack = _stacker(
    "column_stack", lambda t: t.reshape(-1, 1) if t.ndim <= 1 else t, lambda t: 1
)


@op("method", function=False, saves=(), varargs="repeats")
def repeat(self: Array, repeats: Size) -> Array:
    """The tensor tiled; more repeats than dimensions add leading ones."""
    if len(repeats) < self.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions "
            "of tensor"
        )
    if any(r < 0 for r in repeats):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(repeats)}")
    return jnp.tile(self.reshape((1,) * (len(repeats) - self.ndim) + self.shape), repeats)


@op("method", saves=(), varargs="dims")
def tile(self: Array, dims: Size) -> Array:
    """The tensor tiled; fewer numbers than dimensions apply to the last ones."""
    return jnp.tile(self, dims)


@op(function=False, saves=(), grad_name="IndexSelectBackward0")
def _repeat_each(self: Array, repeats: int, dim: int) -> Array:
    return jnp.repeat(self, repeats, axis=dim)


@composite("method")
def repeat_interleave(
    self: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each entry repeated in place; per-entry numbers of repeats are a barrier."""
    if repeats is None:
        counts = to_host(self)
        return from_host(
            np.repeat(np.arange(len(counts)), counts), device=device_of(self._value.aval.place)
        )
    source = self.reshape(-1) if dim is None else self
    d = wrap_dim(0 if dim is None else dim, len(size_of(source)))
    if isinstance(repeats, Tensor):
        counts = to_host(repeats)
        if counts.ndim == 1 and len(counts) not in (1, size_of(source)[d]):
            raise RuntimeError(
                "repeats must have the same size as input along dim, but got repeats.size(0) = "
                f"{len(counts)} and input.size({d}) = {size_of(source)[d]}"
            )
        where = np.repeat(np.arange(size_of(source)[d]), counts)
        return source.index_select(d, from_host(where, device=device_of(self._value.aval.place)))
    return _repeat_each(source, int(repeats), d)


@op("method", saves=(), varargs="dims", layout="pointwise")
def flip(self: Array, dims: Size) -> Array:
    """Dimensions reversed."""
    wrapped = [wrap_dim(d, self.ndim) for d in dims]
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError("dim appears multiple times in the list of dims")
    return jnp.flip(self, wrapped) if wrapped and self.ndim else self


@op("method", saves=(), layout="pointwise")
def fliplr(self: Array) -> Array:
    """Columns reversed."""
    if self.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return jnp.flip(self, 1)


@op("method", saves=(), layout="pointwise")
def flipud(self: Array) -> Array:
    """Rows reversed."""
    if self.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return jnp.flip(self, 0)


@op("method", saves=())
def roll(self: Array, shifts: Ints, dims: Ints = None) -> Array:
    """Entries moved along dimensions, around the end; without dims on the flattened tensor."""
    shifts = shifts if isinstance(shifts, tuple) else (shifts,)
    if dims is None or dims == ():
        if len(shifts) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:0")
        return jnp.roll(self.reshape(-1), shifts[0]).reshape(self.shape)
    dims = dims if isinstance(dims, tuple) else (dims,)
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    if not self.ndim:
        raise IndexError(f"Dimension specified as {dims[0]} but tensor has no dimensions")
    return jnp.roll(self, shifts, [wrap_dim(d, self.ndim) for d in dims])


@composite("method")
def rot90(self: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Rotated k times by 90 degrees in the plane of two dimensions."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if self.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {self.ndim}")
    if wrap_dim(dims[0], self.ndim) == wrap_dim(dims[1], self.ndim):
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    first, second = dims
    return (
        lambda: self.clone(memory_format=FORMATS["contiguous_format"]),
        lambda: flip(self, (second,)).transpose(first, second),
        lambda: flip(self, (first, second)),
        lambda: flip(self, (first,)).transpose(first, second),
    )[k % 4]()


@op("method", "inplace", saves=())
def tril(self: Array, diagonal: int = 0) -> Array:
    """The lower triangle of matrices, zeros elsewhere. [..., n, m] -> [..., n, m]"""
    if self.ndim < 2:
        raise RuntimeError("tril: input tensor must have at least 2 dimensions")
    return jnp.tril(self, diagonal)


@op("method", "inplace", saves=())
def triu(self: Array, diagonal: int = 0) -> Array:
    """The upper triangle of matrices, zeros elsewhere. [..., n, m] -> [..., n, m]"""
    if self.ndim < 2:
        raise RuntimeError("triu: input tensor must have at least 2 dimensions")
    return jnp.triu(self, diagonal)


@op("method", saves=())
def diag(self: Array, diagonal: int = 0) -> Array:
    """A vector as a diagonal matrix, or the diagonal of a matrix."""
    if self.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {self.ndim}D")
    return jnp.diag(self, diagonal)


@op("method", saves=())
def diagflat(self: Array, offset: int = 0) -> Array:
    """A diagonal matrix of all elements."""
    return jnp.diagflat(self, offset)


@op("method", saves=())
def diag_embed(self: Array, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    """The last dimension on the diagonal of matrices in two new dimensions."""
    n = self.ndim + 1
    first, second = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = self.shape[-1] + abs(offset)
    places = jnp.arange(self.shape[-1])
    rows, columns = places + max(-offset, 0), places + max(offset, 0)
    made = jnp.zeros((*self.shape[:-1], size, size), self.dtype).at[..., rows, columns].set(self)
    if first > second:
        first, second = second, first
        made = jnp.swapaxes(made, -1, -2)
    return jnp.moveaxis(made, (-2, -1), (first, second))


@composite()
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes(*[size_of(t) for t in tensors])
    return tuple(t.expand(shape) for t in tensors)


@composite()
def broadcast_shapes(*shapes: Any) -> Any:
    """The common shape of shapes."""
    known = [ints((s,)) if not isinstance(s, int) else (s,) for s in shapes]
    try:
        found = np.broadcast_shapes(*known)
    except ValueError as error:
        raise RuntimeError(
            "Shape mismatch: objects cannot be broadcast to a single shape"
        ) from error
    return Shape(found)


@composite()
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinate grids of vectors."""
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if any(len(size_of(t)) > 1 for t in tensors):
        raise RuntimeError("torch.meshgrid: Expected 0D or 1D tensor in the tensor list")
    if len({t.dtype for t in tensors}) > 1:
        raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(tensors) >= 2
    tensors = tuple(t.reshape(-1) for t in tensors)
    ordered = [tensors[1], tensors[0], *tensors[2:]] if swap else list(tensors)
    shape = tuple(t.numel() for t in ordered)
    grids = [
        t.reshape((1,) * i + (-1,) + (1,) * (len(ordered) - i - 1)).expand(shape)
        for i, t in enumerate(ordered)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@composite()
def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of the entries of vectors. -> [product of lengths, number of vectors]"""
    if len(tensors) == 1:
        return tensors[0]
    return stack([g.reshape(-1) for g in meshgrid(*tensors)], 1)


@composite()
def block_diag(*tensors: Any) -> Tensor:
    """Matrices along a diagonal, zeros elsewhere."""
    from_blocks = [_lifted(t, 2) for t in tensors]
    if any(len(size_of(t)) > 2 for t in tensors):
        raise RuntimeError("torch.block_diag: Input tensors must have 2 or fewer dimensions.")
    return _block_diag(from_blocks)


@op(function=False, promote="arith", saves=(), grad_name="BlockDiagBackward0")
def _block_diag(tensors: list[Array]) -> Array:
    rows = sum(t.shape[0] for t in tensors)
    columns = sum(t.shape[1] for t in tensors)
    made = jnp.zeros((rows, columns), tensors[0].dtype)
    i = j = 0
    for t in tensors:
        made = made.at[i : i + t.shape[0], j : j + t.shape[1]].set(t)
        i, j = i + t.shape[0], j + t.shape[1]
    return made
