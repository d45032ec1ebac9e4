"""torch.fft: discrete Fourier transforms over any number of dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.ops._declare import Array, composite, op
from funtorch.ops.creation import finish
from funtorch.ops.memory import as_dtype
from funtorch.ops.view_ops import wrap_dim
from funtorch.tensor import Tensor, contiguous_strides, from_host, size_of, strides_of

Ints = Any

_NORMS = (None, "backward", "ortho", "forward")
_SWAPPED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}
C2C, R2C, C2R = "FftC2CBackward0", "FftR2CBackward0", "FftC2RBackward0"
_MOST = 3
"""XLA transforms at most three dimensions at once."""


def _check(name: str, x: Array, norm: str | None, *, real: bool) -> None:
    if norm not in _NORMS:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if x.dtype in (jnp.float16, jnp.bfloat16):
        raise RuntimeError(f"Unsupported dtype {x.dtype.name}")
    if real and jnp.iscomplexobj(x):
        raise RuntimeError(f"{name} expects a real input tensor, but got {x.dtype.name}")


def _axes(name: str, x: Array, s: Ints, dim: Ints) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(dimensions, their sizes) of a transform over several dimensions."""
    s = (s,) if isinstance(s, int) else s
    dim = (dim,) if isinstance(dim, int) else dim
    if dim is None:
        if s is not None and len(s) > x.ndim:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {x.ndim}")
        dim = tuple(range(x.ndim)) if s is None else tuple(range(-len(s), 0))
    elif s is not None and len(s) != len(dim):
        raise RuntimeError(
            "When given, dim and shape arguments must have the same length, but got "
            f"{len(s)} and {len(dim)}"
        )
    axes = tuple(wrap_dim(d, x.ndim) for d in dim)
    if len(set(axes)) != len(axes):
        raise RuntimeError("FFT dims must be unique")
    sizes = tuple(x.shape[a] if s is None or s[i] == -1 else s[i] for i, a in enumerate(axes))
    return axes, sizes


def _positive(sizes: tuple[int, ...]) -> None:
    for n in sizes:
        if n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")


def _complex_many(
    lower: Any, x: Array, sizes: tuple[int, ...], axes: tuple[int, ...], norm: str | None
) -> Array:
    for i in range(0, len(axes), _MOST):
        x = lower(x, sizes[i : i + _MOST], axes[i : i + _MOST], norm)
    return x


def _forward(x: Array, sizes: tuple[int, ...], axes: tuple[int, ...], norm: str | None) -> Array:
    _positive(sizes)
    return _complex_many(jnp.fft.fftn, x, sizes, axes, norm) if axes else _as_complex(x)


def _inverse(x: Array, sizes: tuple[int, ...], axes: tuple[int, ...], norm: str | None) -> Array:
    _positive(sizes)
    return _complex_many(jnp.fft.ifftn, x, sizes, axes, norm) if axes else _as_complex(x)


def _from_real(x: Array, sizes: tuple[int, ...], axes: tuple[int, ...], norm: str | None) -> Array:
    if not axes:
        raise RuntimeError("rfftn must transform at least one axis")
    _positive(sizes)
    half = jnp.fft.rfft(x, sizes[-1], axes[-1], norm)
    return _complex_many(jnp.fft.fftn, half, sizes[:-1], axes[:-1], norm)


def _to_real(x: Array, sizes: tuple[int, ...], axes: tuple[int, ...], norm: str | None) -> Array:
    if not axes:
        raise RuntimeError("irfftn must transform at least one axis")
    _positive(sizes)
    full = _complex_many(jnp.fft.ifftn, _as_complex(x), sizes[:-1], axes[:-1], norm)
    return jnp.fft.irfft(full, sizes[-1], axes[-1], norm)


def _as_complex(x: Array) -> Array:
    return x if jnp.iscomplexobj(x) else x.astype(jnp.promote_types(x.dtype, jnp.complex64))


def _hermitian(x: Array, sizes: Any, axes: Any, norm: str | None) -> Array:
    return _to_real(jnp.conj(x), sizes, axes, _SWAPPED[norm])


def _inverse_hermitian(x: Array, sizes: Any, axes: Any, norm: str | None) -> Array:
    return jnp.conj(_from_real(x, sizes, axes, _SWAPPED[norm]))


# Strides: PyTorch leaves the transformed dimensions fastest in memory ---------------------------


def _sorted(dims: Any, rank: dict[int, int]) -> list[int]:
    return sorted(dims, key=lambda d: rank[d])


def _after(order: list[int], dims: Sequence[int]) -> list[int]:
    """The memory order after a transform over `dims`, the last of which stays last."""
    rank = {d: i for i, d in enumerate(order)}
    return [*_sorted([d for d in order if d not in dims], rank), *dims]


def _memory_order(kind: str, dims: list[int], strides: Sequence[int]) -> list[int]:
    start = sorted(range(len(strides)), key=lambda d: (-strides[d], d))
    rank = {d: i for i, d in enumerate(start)}
    most, last = _sorted(dims[:-1], rank), dims[-1]
    if kind == C2C:
        return _after(start, _sorted(dims, rank))
    if kind == C2R:
        return _after(_after(start, most), [last])
    if kind == "ihfft" and most:
        return _after(_after(start, [last]), most)
    return _after(start, [*most, last])


def _order(kind: str) -> Any:
    def order(index: int, ndim: int, args: Sequence[Any]) -> Sequence[int] | None:
        self, s, dim = args[:3]
        if dim is None:
            dim = range(ndim) if s is None else range(-1 if isinstance(s, int) else -len(s), 0)
        dims = [d % ndim for d in ([dim] if isinstance(dim, int) else dim)]
        if not dims:
            return None
        sizes = [] if s is None else [s] if isinstance(s, int) else list(s)
        if sizes and kind == C2R:
            sizes[-1] = sizes[-1] // 2 + 1
        shape = size_of(self)
        padded = any(n > shape[d] for n, d in zip(sizes, dims, strict=False))
        strides = contiguous_strides(shape) if padded else strides_of(self)
        return _memory_order(kind, dims, strides)

    return order


def _declare_all(
    stem: str, lower: Callable[..., Array], meaning: str, grad_name: str, halved: bool = False
) -> None:
    """The forms over one, two and all dimensions. halved: the input holds half of the last one."""
    real = lower in (_from_real, _inverse_hermitian)

    def last(x: Array, sizes: tuple[int, ...], given: bool) -> tuple[int, ...]:
        if not halved or given or not sizes:
            return sizes
        return (*sizes[:-1], 2 * (sizes[-1] - 1))

    def one(self: Array, n: int | None = None, dim: int = -1, norm: str | None = None) -> Array:
        _check(stem, self, norm, real=real)
        axis = wrap_dim(dim, self.ndim)
        if not self.ndim:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        sizes = (self.shape[axis] if n is None else n,)
        return lower(self, last(self, sizes, n is not None), (axis,), norm)

    def many(name: str, default: Ints) -> Any:
        def body(self: Array, s: Ints = None, dim: Ints = default, norm: Any = None) -> Array:
            _check(name, self, norm, real=real)
            axes, sizes = _axes(name, self, s, dim)
            given = s is not None and (s if isinstance(s, int) else s[-1]) != -1
            return lower(self, last(self, sizes, given), axes, norm)

        return body

    forms = ((stem, one), (f"{stem}2", many(f"{stem}2", (-2, -1))))
    for name, body in (*forms, (f"{stem}n", many(f"{stem}n", None))):
        body.__name__ = f"fft_{name}"
        body.__doc__ = f"{meaning} self: [...] -> [...]"
        kind = "ihfft" if stem == "ihfft" else grad_name
        op(
            "fft",
            function=False,
            promote="float",
            saves=(),
            grad_name=grad_name,
            out="exact" if name in ("ifft", "ihfft") else "cast",
            order=_order(kind),
        )(body)


_declare_all("fft", _forward, "Discrete Fourier transform.", C2C)
_declare_all("ifft", _inverse, "Inverse Fourier transform.", C2C)
_declare_all("rfft", _from_real, "Fourier transform of real data, half of it.", R2C)
_declare_all("irfft", _to_real, "Inverse of rfft.", C2R, halved=True)
_declare_all("hfft", _hermitian, "Fourier transform of a half-Hermitian signal.", C2R, halved=True)
_declare_all("ihfft", _inverse_hermitian, "Inverse of hfft.", R2C)


# Frequencies and shifts -------------------------------------------------------------------------


def _frequencies(name: str, lower: Any) -> None:
    def function(
        n: int,
        d: float = 1.0,
        *,
        out: Any = None,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        kind = as_dtype(dtype)
        made = from_host(lower(n, d).astype(kind.numpy), device=device)
        return finish(made, requires_grad, out, dtype)

    function.__name__ = f"fft_{name}"
    function.__doc__ = "Sample frequencies of a transform of length n, spacing d. -> [...]"
    composite("fft", function=False)(function)


_frequencies("fftfreq", np.fft.fftfreq)
_frequencies("rfftfreq", np.fft.rfftfreq)


def _shift(name: str, sign: int) -> None:
    def function(self: Tensor, dim: Ints = None) -> Tensor:
        dims = tuple(range(self.ndim)) if dim is None else (dim,) if isinstance(dim, int) else dim
        middle = [self.shape[d] // 2 if sign > 0 else (self.shape[d] + 1) // 2 for d in dims]
        return self.roll(tuple(middle), tuple(dims)) if dims else self.clone()

    function.__name__ = f"fft_{name}"
    function.__doc__ = "The zero frequency moved to the middle, or back. [...] -> [...]"
    composite("fft", function=False)(function)


_shift("fftshift", 1)
_shift("ifftshift", -1)
