"""Pooling: largest or mean values of windows."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funtorch.ops._declare import Array, Order, composite, op
from funtorch.ops._orders import by_channels
from funtorch.tensor import Tensor

Ints = Any


def _tuple(value: Ints, n: int, name: str) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * n
    given = tuple(value)
    if len(given) == 1:
        return given * n
    if len(given) != n:
        raise RuntimeError(f"{name} must either be a single int, or a tuple of {n} ints")
    return given


def _windows(
    name: str,
    x: Array,
    n: int,
    kernel: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], list[tuple[int, int]]]:
    """(kernel, stride, dilation, padding on both sides) of a pooling; checked."""
    if x.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch "
            f"size for input, but got: {list(x.shape)}"
        )
    if any(extent == 0 for extent in x.shape[x.ndim - n - 1 :]):
        raise RuntimeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch "
            f"size for input, but got: {list(x.shape)}"
        )
    kernel = _tuple(kernel, n, f"{name}: kernel_size")
    steps = kernel if stride is None or stride == () else _tuple(stride, n, f"{name}: stride")
    sides = _tuple(padding, n, f"{name}: padding")
    holes = _tuple(dilation, n, f"{name}: dilation")
    if any(e <= 0 for e in (*kernel, *steps, *holes)):
        raise RuntimeError(f"{name}: kernel size, stride and dilation should be greater than zero")
    if any(p < 0 or 2 * p > k for p, k in zip(sides, kernel, strict=True)):
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={sides} and "
            f"kernel_size={kernel}"
        )
    around = []
    for size, k, s, p, h in zip(x.shape[-n:], kernel, steps, sides, holes, strict=True):
        around.append((p, p + _overhang(name, size, k, s, p, h, ceil_mode)))
    return kernel, steps, holes, around


def _overhang(name: str, size: int, k: int, s: int, p: int, h: int, ceil_mode: bool) -> int:
    """How far the last window of ceil_mode reaches beyond the padding."""
    span = size + 2 * p - h * (k - 1) - 1
    out = (-(-span // s) if ceil_mode else span // s) + 1
    if ceil_mode and (out - 1) * s >= size + p:
        out -= 1
    if out < 1:
        raise RuntimeError(
            f"{name}: Given input size: ({size}). Calculated output size: ({out}). Output size is "
            "too small"
        )
    return max((out - 1) * s + h * (k - 1) + 1 - size - 2 * p, 0)


def _reduce(
    x: Array, start: Any, join: Any, kernel: Any, steps: Any, holes: Any, around: Any
) -> Array:
    lead = x.ndim - len(kernel)
    ones, none = (1,) * lead, [(0, 0)] * lead
    return lax.reduce_window(
        x, start, join, ones + kernel, ones + steps, none + around, None, ones + holes
    )


def _lowest(dtype: Any) -> Any:
    if jnp.issubdtype(dtype, jnp.floating):
        return np.array(-np.inf, dtype)
    return np.array(np.iinfo(dtype).min, dtype)


def _max_pool(n: int, with_indices: Any) -> Any:
    name = f"max_pool{n}d"

    def body(
        self: Array,
        kernel_size: Ints,
        stride: Ints = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
    ) -> Array:
        kernel, steps, holes, around = _windows(
            name, self, n, kernel_size, stride, padding, dilation, ceil_mode
        )
        if any(h != 1 for h in holes):
            # JAX has no gradient for windows with holes; by way of indices there is one.
            return with_indices.lower(self, kernel_size, stride, padding, dilation, ceil_mode)[0]
        simple = kernel == steps and all(p == (0, 0) for p in around) and all(h == 1 for h in holes)
        if simple and n == 2:
            return _tiled_max(self, kernel)
        return _reduce(self, _lowest(self.dtype), lax.max, kernel, steps, holes, around)

    body.__name__ = f"_{name}"
    body.__doc__ = "Largest values of windows. [N, C, ...] -> [N, C, ...]"
    return op(
        function=False,
        saves=("self", "result"),
        grad_name=f"MaxPool{n}DWithIndicesBackward0",
        order=by_channels(4, 5),
    )(body)


def _tiled_max(x: Array, kernel: tuple[int, ...]) -> Array:
    """Windows that tile: a reduction over reshaped axes, whose gradient needs no scatter.

    The gradient goes to the first largest element, as PyTorch's does.
    """
    kh, kw = kernel
    h, w = x.shape[-2] // kh, x.shape[-1] // kw
    tiles = x[..., : h * kh, : w * kw].reshape(*x.shape[:-2], h, kh, w, kw)
    tiles = jnp.moveaxis(tiles, -3, -2).reshape(*x.shape[:-2], h, w, kh * kw)
    first = jnp.argmax(lax.stop_gradient(tiles), -1)
    chosen = first[..., None] == jnp.arange(kh * kw)
    return jnp.where(chosen, tiles, 0).sum(-1)


def _max_pool_indices(n: int) -> Any:
    def body(
        self: Array,
        kernel_size: Ints,
        stride: Ints = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
    ) -> tuple[Array, Array]:
        kernel, steps, holes, around = _windows(
            f"max_pool{n}d", self, n, kernel_size, stride, padding, dilation, ceil_mode
        )
        space = self.shape[-n:]
        places = jnp.broadcast_to(jnp.arange(math.prod(space)).reshape(space), self.shape)

        def join(a: Any, b: Any) -> Any:
            take = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
            return jnp.where(take, b[0], a[0]), jnp.where(take, b[1], a[1])

        lead = self.ndim - n
        ones, none = (1,) * lead, [(0, 0)] * lead
        _, index = lax.reduce_window(
            (lax.stop_gradient(self), places),
            (_lowest(self.dtype), np.array(np.iinfo(np.int64).max)),
            join,
            ones + kernel,
            ones + steps,
            none + around,
            None,
            ones + holes,
        )
        flat = self.reshape(*self.shape[:-n], -1)
        values = jnp.take_along_axis(flat, index.reshape(*index.shape[:-n], -1), -1)
        return values.reshape(index.shape), index

    body.__name__ = f"_max_pool{n}d_with_indices"
    body.__doc__ = "Largest values of windows and where they were. [N, C, ...]"
    return op(
        function=False,
        saves=("self",),
        grad_name=f"MaxPool{n}DWithIndicesBackward0",
        order=by_channels(3, 4, 5),
    )(body)


def _declare_max_pool(n: int) -> None:
    both = _max_pool_indices(n)
    values = _max_pool(n, both)

    def pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        facade = both if return_indices else values
        return facade(input, kernel_size, stride, padding, dilation, ceil_mode)

    def with_indices(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        return both(input, kernel_size, stride, padding, dilation, ceil_mode)

    pool.__doc__ = with_indices.__doc__ = "Largest values of windows. [N, C, ...] -> [N, C, ...]"
    composite("functional", name=f"max_pool{n}d")(pool)
    composite("functional", name=f"max_pool{n}d_with_indices", function=False)(with_indices)


for _n in (1, 2, 3):
    _declare_max_pool(_n)


def _as_input(index: int, ndim: int, args: Any) -> tuple[int, ...] | None:
    """Channels stay innermost in memory where they are so in the input."""
    stride = args[1]._stride
    return (0, 2, 3, 1) if ndim == 4 and stride is not None and stride[1] == 1 else None


@op(function=False, saves=("indices",), order=_as_input)
def max_pool2d_with_indices_backward(
    grad_output: Array,
    self: Array,
    kernel_size: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    indices: Array,
) -> Array:
    """Each window's gradient put where its largest value was. [..., p, q] -> [..., h, w]"""
    lead, space = self.shape[:-2], self.shape[-2:]
    flat = jnp.zeros((math.prod(lead), math.prod(space)), grad_output.dtype)
    rows = jnp.arange(flat.shape[0])[:, None]
    width = math.prod(indices.shape[-2:])
    shares = grad_output.reshape(flat.shape[0], width)
    return flat.at[rows, indices.reshape(-1, width)].add(shares).reshape(self.shape)


def _avg_pool(n: int) -> Any:
    name = f"avg_pool{n}d"

    def body(
        self: Array,
        kernel_size: Ints,
        stride: Ints = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Array:
        kernel, steps, holes, around = _windows(
            name, self, n, kernel_size, stride, padding, 1, ceil_mode
        )
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        total = _reduce(self, np.array(0, self.dtype), lax.add, kernel, steps, holes, around)
        if divisor_override is not None:
            return total / divisor_override
        if all(p == (0, 0) for p in around):
            return total / math.prod(kernel)
        sides = _tuple(padding, n, name)
        return total / _counts(self, n, kernel, steps, around, sides, count_include_pad)

    body.__name__ = name
    body.__doc__ = "Means of windows. [N, C, ...] -> [N, C, ...]"
    return op("functional", saves=(), function=n == 1, order=by_channels(3, 4))(body)


def _counts(
    x: Array, n: int, kernel: Any, steps: Any, around: Any, sides: Any, with_padding: bool
) -> Array:
    """How many elements each window counts: of the input, or of the input and its padding."""
    space = x.shape[-n:]
    ones = jnp.ones(space, x.dtype)
    if with_padding:
        ones = jnp.pad(ones, [(p, p) for p in sides], constant_values=1)
        around = [(0, high - p) for (_, high), p in zip(around, sides, strict=True)]
    return _reduce(ones, np.array(0, x.dtype), lax.add, kernel, steps, (1,) * n, around)


avg_pool1d, avg_pool2d, avg_pool3d = (_avg_pool(n) for n in (1, 2, 3))


def _adaptive_bounds(size: int, out: int) -> list[tuple[int, int]]:
    return [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def _adaptive_size(name: str, x: Array, n: int, size: Any, filled: int) -> tuple[int, ...]:
    """The output's spatial sizes, checked. filled: the first dimension that may not be empty."""
    wanted = (size,) * n if size is None or isinstance(size, int) else tuple(size)
    if wanted is size and n > 1 and x.ndim <= len(wanted):
        raise ValueError(f"Input dimension should be at least {len(wanted) + 1}")
    if x.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got {list(x.shape)}"
        )
    if len(wanted) != n:
        raise RuntimeError(f"{name}: output_size must be {n}, but got {list(wanted)}")
    sizes = tuple(x.shape[-n + i] if w is None else w for i, w in enumerate(wanted))
    if any(w < 0 for w in sizes):
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            f"{list(sizes)}"
        )
    if 0 in x.shape[filled:]:
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(x.shape)}"
        )
    return sizes


def _adaptive_order(n: int) -> Order | None:
    return by_channels(n + 2) if n < 3 else None


def _adaptive_avg(n: int) -> Any:
    def body(self: Array, output_size: Ints) -> Array:
        name, filled = f"adaptive_avg_pool{n}d", 1 if n == 3 else -n
        out = self
        for i, want in enumerate(_adaptive_size(name, self, n, output_size, filled)):
            axis = self.ndim - n + i
            size = self.shape[axis]
            weights = np.zeros((size, want))
            for j, (low, high) in enumerate(_adaptive_bounds(size, want)):
                weights[low:high, j] = 1 / (high - low)
            if want == 1:
                out = out.mean(axis, keepdims=True)
            else:
                mixed = jnp.tensordot(out, jnp.asarray(weights, self.dtype), ((axis,), (0,)))
                out = jnp.moveaxis(mixed, -1, axis)
        return out

    body.__name__ = f"adaptive_avg_pool{n}d"
    body.__doc__ = "Means of as many windows as wanted. [N, C, ...] -> [N, C, *output_size]"
    return op("functional", saves=(), function=n == 1, order=_adaptive_order(n))(body)


def _adaptive_max(n: int) -> Any:
    def body(self: Array, output_size: Ints) -> tuple[Array, Array]:
        sizes = _adaptive_size(f"adaptive_max_pool{n}d", self, n, output_size, 1)
        space = self.shape[-n:]
        places = jnp.arange(math.prod(space)).reshape(space)
        bounds = [_adaptive_bounds(s, w) for s, w in zip(space, sizes, strict=True)]
        shape = (*self.shape[:-n], *sizes)
        if 0 in sizes:
            return jnp.zeros(shape, self.dtype), jnp.zeros(shape, jnp.int64)
        values, indices = [], []
        for cell in np.ndindex(*[len(b) for b in bounds]):
            cut = tuple(slice(*bounds[i][c]) for i, c in enumerate(cell))
            window = self[(..., *cut)].reshape(*self.shape[:-n], -1)
            at = jnp.argmax(lax.stop_gradient(window), -1)
            values.append(jnp.take_along_axis(window, at[..., None], -1)[..., 0])
            indices.append(places[cut].reshape(-1)[at])
        return jnp.stack(values, -1).reshape(shape), jnp.stack(indices, -1).reshape(shape)

    body.__name__ = f"_adaptive_max_pool{n}d"
    body.__doc__ = "Largest values of as many windows as wanted, with indices."
    inner = op(
        function=False,
        saves=("self",),
        grad_name=f"AdaptiveMaxPool{n}DBackward0",
        order=_adaptive_order(n),
    )(body)

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        found = inner(input, output_size)
        return found if return_indices else found[0]

    def with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return inner(input, output_size)

    pool.__doc__ = with_indices.__doc__ = body.__doc__
    composite("functional", name=f"adaptive_max_pool{n}d_with_indices", function=False)(
        with_indices
    )
    return composite("functional", name=f"adaptive_max_pool{n}d", function=n == 1)(pool)


for _n in (1, 2, 3):
    _adaptive_avg(_n)
    _adaptive_max(_n)
