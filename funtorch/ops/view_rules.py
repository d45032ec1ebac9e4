"""The kinds of views: how each reads, writes back, and moves strides.

Arguments are normalised (non-negative, in range) before they get here.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import lax

from funtorch.views import ViewOp

Ints = tuple[int, ...]


# reshape ------------------------------------------------------------------------------------


def viewed_strides(shape: Ints, strides: Ints, new: Ints) -> Ints | None:
    """Strides of `new` on the same memory, or None if that takes a copy.

    Dimensions that lie together in memory form chunks; each chunk is divided anew.
    """
    if math.prod(shape) == 0 or not shape:
        return strides if shape == new else _dense(new)
    made = [0] * len(new)
    at = len(new) - 1
    chunk_stride, chunk_size = strides[-1], 1
    for d in range(len(shape) - 1, -1, -1):
        chunk_size *= shape[d]
        begins = d == 0 or (shape[d - 1] != 1 and strides[d - 1] != chunk_size * chunk_stride)
        if not begins:
            continue
        size = 1
        while at >= 0 and (size < chunk_size or new[at] == 1):
            made[at] = size * chunk_stride
            size *= new[at]
            at -= 1
        if size != chunk_size:
            return None
        if d > 0:
            chunk_stride, chunk_size = strides[d - 1], 1
    return tuple(made) if at == -1 else None


def _dense(shape: Ints) -> Ints:
    out, step = [], 1
    for n in reversed(shape):
        out.append(step)
        step *= max(n, 1)
    return tuple(reversed(out))


def _view_layout(shape: Ints, strides: Ints, new: Ints) -> tuple[Ints, int]:
    made = viewed_strides(shape, strides, new)
    if made is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return made, 0


reshape_view = ViewOp(
    "view",
    lambda x, shape: x.reshape(shape),
    _view_layout,
    lambda base, new, shape: new.reshape(base.shape),
)


# permute ------------------------------------------------------------------------------------


def _inverse(order: Ints) -> list[int]:
    inverse = [0] * len(order)
    for i, d in enumerate(order):
        inverse[d] = i
    return inverse


def _permuted(shape: Ints, strides: Ints, order: Ints) -> tuple[Ints, int]:
    return tuple(strides[d] for d in order), 0


permute_view = ViewOp(
    "permute",
    lambda x, order: jnp.transpose(x, order),
    _permuted,
    lambda base, new, order: jnp.transpose(new, _inverse(order)),
)
transpose_view = ViewOp(
    "transpose", permute_view.lower, _permuted, permute_view.write, grad_name="TransposeBackward0"
)
t_view = ViewOp("t", permute_view.lower, _permuted, permute_view.write, grad_name="TBackward0")


# select, slice ------------------------------------------------------------------------------


def _select(x, index, dim):  # type: ignore[no-untyped-def]
    return lax.dynamic_index_in_dim(x, index, dim, keepdims=False)


def _select_layout(shape: Ints, strides: Ints, index: int, dim: int) -> tuple[Ints, int]:
    return strides[:dim] + strides[dim + 1 :], index * strides[dim]


select_view = ViewOp(
    "select",
    _select,
    _select_layout,
    lambda base, new, index, dim: lax.dynamic_update_index_in_dim(base, new, index, dim),
    n_scalars=1,
    host=lambda x, index, dim: x[(slice(None),) * dim + (index,)],
)


def _slice(x, start, dim, length, step):  # type: ignore[no-untyped-def]
    if step == 1:
        return lax.dynamic_slice_in_dim(x, start, length, dim)
    if isinstance(start, int):
        stop = start + (length - 1) * step + 1 if length else start
        return lax.slice_in_dim(x, start, stop, step, dim)
    return jnp.take(x, start + step * jnp.arange(length), axis=dim)


def _slice_write(base, new, start, dim, length, step):  # type: ignore[no-untyped-def]
    if step == 1:
        return lax.dynamic_update_slice_in_dim(base, new, start, dim)
    where = (slice(None),) * dim + (start + step * jnp.arange(length),)
    return base.at[where].set(new)


def _slice_layout(
    shape: Ints, strides: Ints, start: int, dim: int, length: int, step: int
) -> tuple[Ints, int]:
    moved = strides[:dim] + (strides[dim] * step,) + strides[dim + 1 :]
    return moved, start * strides[dim]


def _slice_on_host(x, start, dim, length, step):  # type: ignore[no-untyped-def]
    return x[(slice(None),) * dim + (slice(start, start + length * step, step),)]


slice_view = ViewOp("slice", _slice, _slice_layout, _slice_write, n_scalars=1, host=_slice_on_host)


# unsqueeze, squeeze, expand -----------------------------------------------------------------


def _unsqueeze_layout(shape: Ints, strides: Ints, dim: int) -> tuple[Ints, int]:
    step = strides[dim] * shape[dim] if dim < len(shape) else 1
    return (*strides[:dim], step, *strides[dim:]), 0


unsqueeze_view = ViewOp(
    "unsqueeze",
    lambda x, dim: jnp.expand_dims(x, dim),
    _unsqueeze_layout,
    lambda base, new, dim: jnp.squeeze(new, dim),
)


def _squeeze_layout(shape: Ints, strides: Ints, dims: Ints) -> tuple[Ints, int]:
    return tuple(s for d, s in enumerate(strides) if d not in dims), 0


squeeze_view = ViewOp(
    "squeeze",
    lambda x, dims: jnp.squeeze(x, dims),
    _squeeze_layout,
    lambda base, new, dims: new.reshape(base.shape),
)


def _expand_layout(shape: Ints, strides: Ints, new: Ints) -> tuple[Ints, int]:
    added = len(new) - len(shape)
    made = [0] * added
    for d, n in enumerate(shape):
        made.append(0 if n == 1 and new[added + d] != 1 else strides[d])
    return tuple(made), 0


expand_view = ViewOp("expand", lambda x, shape: jnp.broadcast_to(x, shape), _expand_layout)


# diagonal, unfold, as_strided ---------------------------------------------------------------


def _diagonal_layout(
    shape: Ints, strides: Ints, offset: int, dim1: int, dim2: int
) -> tuple[Ints, int]:
    start = offset * strides[dim2] if offset >= 0 else -offset * strides[dim1]
    rest = tuple(s for d, s in enumerate(strides) if d not in (dim1, dim2))
    length = max(min(shape[dim1] + min(offset, 0), shape[dim2] - max(offset, 0)), 0)
    return (*rest, strides[dim1] + strides[dim2]), start if length else 0


diagonal_view = ViewOp(
    "diagonal",
    lambda x, offset, dim1, dim2: jnp.diagonal(x, offset, dim1, dim2),
    _diagonal_layout,
)


def _unfold(x, dim, size, step):  # type: ignore[no-untyped-def]
    count = (x.shape[dim] - size) // step + 1
    where = step * jnp.arange(count)[:, None] + jnp.arange(size)[None, :]
    taken = jnp.take(x, where.reshape(-1), axis=dim)
    split = taken.reshape(*x.shape[:dim], count, size, *x.shape[dim + 1 :])
    return jnp.moveaxis(split, dim + 1, -1)


def _unfold_layout(shape: Ints, strides: Ints, dim: int, size: int, step: int) -> tuple[Ints, int]:
    moved = strides[:dim] + (strides[dim] * step,) + strides[dim + 1 :]
    return (*moved, strides[dim]), 0


unfold_view = ViewOp("unfold", _unfold, _unfold_layout)


def _strided(x, size, stride, offset, layout):  # type: ignore[no-untyped-def]
    """`x` is a whole storage; `layout` its strides, by which it is brought to memory order."""
    flat = x if layout is None else jnp.transpose(x, _memory_order(layout))
    where = jnp.full(size, offset, jnp.int64)
    for d, (n, s) in enumerate(zip(size, stride, strict=True)):
        steps = s * jnp.arange(n)
        where = where + steps.reshape((-1,) + (1,) * (len(size) - d - 1))
    return flat.reshape(-1)[where]


def _memory_order(layout: Ints) -> list[int]:
    return sorted(range(len(layout)), key=lambda d: (-layout[d], d))


as_strided_view = ViewOp(
    "as_strided",
    _strided,
    lambda shape, strides, size, stride, offset, layout: (stride, offset),
)


# parts of complex numbers, and other readings of the same bits ---------------------------------

_real_layout = lambda shape, strides: (tuple(2 * s for s in strides), 0)  # noqa: E731

real_view = ViewOp(
    "real",
    lambda x: jnp.real(x),
    _real_layout,
    lambda base, new: lax.complex(new, jnp.imag(base)),
)
imag_view = ViewOp(
    "imag",
    lambda x: jnp.imag(x),
    lambda shape, strides: (tuple(2 * s for s in strides), 1),
    lambda base, new: lax.complex(jnp.real(base), new),
)
view_as_real_view = ViewOp(
    "view_as_real",
    lambda x: jnp.stack([jnp.real(x), jnp.imag(x)], -1),
    lambda shape, strides: ((*(2 * s for s in strides), 1), 0),
    lambda base, new: lax.complex(new[..., 0], new[..., 1]),
)
view_as_complex_view = ViewOp(
    "view_as_complex",
    lambda x: lax.complex(x[..., 0], x[..., 1]),
    lambda shape, strides: (tuple(s // 2 for s in strides[:-1]), 0),
    lambda base, new: jnp.stack([jnp.real(new), jnp.imag(new)], -1),
)


def _bitcast(x, dtype, ratio):  # type: ignore[no-untyped-def]
    """ratio: new itemsize / old one as a pair (numerator, denominator)."""
    up, down = ratio
    if up > 1:
        x = x.reshape(*x.shape[:-1], x.shape[-1] // up, up)
    out = lax.bitcast_convert_type(x, dtype)
    return out.reshape(*out.shape[:-2], -1) if down > 1 else out


def _bitcast_layout(shape: Ints, strides: Ints, dtype: object, ratio: Ints) -> tuple[Ints, int]:
    up, down = ratio
    if up == down:
        return strides, 0
    return (*(s * down // up for s in strides[:-1]), 1), 0


bitcast_view = ViewOp(
    "view_dtype",
    _bitcast,
    _bitcast_layout,
    lambda base, new, dtype, ratio: _bitcast(new, base.dtype, ratio[::-1]),
    grad_name="ViewBackward1",
)

conj_view = ViewOp(
    "conj",
    lambda x: jnp.conj(x),
    lambda shape, strides: (strides, 0),
    lambda base, new: jnp.conj(new),
)
alias_view = ViewOp(
    "alias",
    lambda x: x,
    lambda shape, strides: (strides, 0),
    lambda base, new: new,
    grad_name="AliasBackward0",
)
