"""Short-time Fourier transforms, and the old names of window functions."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy  # its parts load when they are first used

from funtorch import dtypes
from funtorch.dispatch import to_host
from funtorch.ops._declare import Array, composite, op
from funtorch.ops._linalg import readable
from funtorch.ops.memory import as_dtype
from funtorch.ops.nn_pad import pad
from funtorch.ops.view_ops import view_as_real
from funtorch.tensor import Tensor, dtype_of, from_host, size_of

# Windows ----------------------------------------------------------------------------------------


def _window(name: str, shape: Any, extra: dict[str, Any]) -> None:
    """shape(k, last, *extra) -> the symmetric window; extra: further arguments and defaults."""

    def function(
        window_length: int,
        periodic: bool = True,
        *given: Any,
        out: Any = None,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
        **named: Any,
    ) -> Tensor:
        kind = as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
        if not kind.is_floating_point:
            raise RuntimeError(f"{name} expects floating point dtypes, got: {kind}")
        if window_length < 0:
            raise RuntimeError(f"{name} requires non-negative window_length, got {window_length}")
        unknown = set(named) - set(extra)
        if unknown:
            raise TypeError(f"{name}() got an unexpected keyword argument '{unknown.pop()}'")
        values = {**extra, **dict(zip(extra, given, strict=False)), **named}
        last = window_length if periodic else window_length - 1
        k = np.arange(window_length, dtype=np.float64)
        found = np.ones(window_length) if window_length <= 1 else shape(k, last, *values.values())
        return from_host(found.astype(kind.numpy), device=device, requires_grad=requires_grad)

    function.__name__ = name
    function.__doc__ = "A window function; periodic: for transforms. -> [window_length]"
    composite()(function)


def _cosine_sum(*weights: float) -> Any:
    def shape(k: np.ndarray, last: float) -> np.ndarray:
        angle = 2 * np.pi * k / last
        return sum((-1) ** i * a * np.cos(i * angle) for i, a in enumerate(weights))

    return shape


def _kaiser(k: np.ndarray, last: float, beta: float) -> np.ndarray:
    inside = np.clip(1 - (2 * k / last - 1) ** 2, 0, None)
    return scipy.special.i0(beta * np.sqrt(inside)) / scipy.special.i0(beta)


_window("hann_window", _cosine_sum(0.5, 0.5), {})
_window("blackman_window", _cosine_sum(0.42, 0.5, 0.08), {})
_window("bartlett_window", lambda k, last: 1 - np.abs(2 * k / last - 1), {})
_window("kaiser_window", _kaiser, {"beta": 12.0})
_window(
    "hamming_window",
    lambda k, last, alpha, beta: alpha - beta * np.cos(2 * np.pi * k / last),
    {"alpha": 0.54, "beta": 0.46},
)


# Short-time transforms --------------------------------------------------------------------------


def _frames(length: int, n_fft: int, hop: int) -> np.ndarray:
    """Sample numbers of each frame. -> [frames, n_fft]"""
    count = 1 + (length - n_fft) // hop
    return np.arange(count)[:, None] * hop + np.arange(n_fft)


def _swapped(index: int, ndim: int, args: Any) -> Any:
    return (*range(ndim - 2), ndim - 1, ndim - 2)


@op(function=False, grad_name="StftBackward0", order=_swapped)
def _stft(
    self: Array, window: Array | None, n_fft: int, hop: int, normalized: bool, onesided: bool
) -> Array:
    framed = self[..., _frames(self.shape[-1], n_fft, hop)]
    if window is not None:
        framed = framed * window
    transform = jnp.fft.rfft if onesided else jnp.fft.fft
    found = transform(framed, norm="ortho" if normalized else "backward")
    return jnp.swapaxes(found, -1, -2)


def _full_window(
    name: str, window: Tensor | None, win_length: int, n_fft: int, like: Tensor
) -> Tensor | None:
    """The window in the middle of n_fft samples."""
    if window is not None and size_of(window) != (win_length,):
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={win_length}, but "
            f"got window with size {list(size_of(window))}"
        )
    if win_length == n_fft:
        return window
    real = like.real if dtype_of(like).is_complex else like
    window = real.new_ones((win_length,)) if window is None else window
    left = (n_fft - win_length) // 2
    padded = window.new_zeros((n_fft,))
    padded[left : left + win_length] = window
    return padded


def _check_frames(name: str, n_fft: int, hop: int, win_length: int) -> None:
    if hop <= 0:
        raise RuntimeError(f"{name}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < win_length <= n_fft:
        raise RuntimeError(
            f"{name}: expected 0 < win_length <= n_fft, but got win_length={win_length}"
        )


@composite("method")
def stft(
    self: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """Fourier transforms of overlapping frames. [..., samples] -> [..., frequencies, frames]"""
    hop = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    is_complex = dtype_of(self).is_complex or (window is not None and dtype_of(window).is_complex)
    if align_to_window:
        raise NotImplementedError("stft(align_to_window=True)")
    if return_complex is None and not is_complex:
        raise RuntimeError(
            "stft requires the return_complex parameter be given for real inputs, and will "
            "further require that return_complex=True in a future PyTorch release."
        )
    if not 1 <= self.ndim <= 2:
        raise RuntimeError(f"stft: expected a 1D or 2D tensor, but got {self.ndim}D")
    x = _centred(self, n_fft // 2, pad_mode) if center else self
    if not 0 < n_fft <= x.shape[-1]:
        raise RuntimeError(f"stft: expected 0 < n_fft < {x.shape[-1]}, but got n_fft={win_length}")
    _check_frames("stft", n_fft, hop, win_length)
    onesided = not is_complex if onesided is None else onesided
    if onesided and is_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    full = _full_window("stft", window, win_length, n_fft, x)
    found = _stft(x, full, n_fft, hop, normalized, onesided)
    return found if return_complex or return_complex is None else view_as_real(found)


def _centred(x: Tensor, around: int, mode: str) -> Tensor:
    lifted = x.reshape((1,) * (3 - x.ndim) + size_of(x))
    return pad(lifted, (around, around), mode).reshape(*size_of(x)[:-1], -1)


@op(function=False, grad_name="IstftBackward0")
def _istft(
    self: Array,
    window: Array,
    n_fft: int,
    hop: int,
    normalized: bool,
    onesided: bool,
    start: int,
    end: int,
    real: bool,
) -> tuple[Array, Array]:
    """(signal, smallest weight of any sample). [b, frequencies, frames] -> [b, samples]"""
    x = jnp.swapaxes(self, -1, -2)
    norm = "ortho" if normalized else "backward"
    if real and not onesided:
        x = x[..., : n_fft // 2 + 1]
    framed = jnp.fft.irfft(x, n_fft, norm=norm) if real else jnp.fft.ifft(x, norm=norm)
    framed = framed * window
    count = self.shape[-1]
    total = n_fft + hop * (count - 1)
    index = _frames(total, n_fft, hop)
    signal = jnp.zeros((*framed.shape[:-2], total), framed.dtype).at[..., index].add(framed)
    squares = jnp.broadcast_to(window * window, (count, n_fft))
    weight = jnp.zeros((total,), squares.dtype).at[index].add(squares)
    kept = min(end, total)
    signal, weight = signal[..., start:kept], weight[start:kept]
    smallest = jnp.abs(weight).min(initial=jnp.inf)
    signal = signal / weight
    if end > total:
        signal = jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, end - total)])
    return signal, smallest


@composite("method")
def istft(
    self: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Inverse of `stft`, by overlap and add. [..., frequencies, frames] -> [..., samples]"""
    hop = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    if not dtype_of(self).is_complex:
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    if not self.numel():
        raise RuntimeError("istft: input tensor cannot be empty.")
    if not 2 <= self.ndim <= 3:
        raise RuntimeError(f"istft: expected a tensor with 2 or 3 dimensions, but got {self.ndim}")
    onesided = self.shape[-2] != n_fft if onesided is None else onesided
    if self.shape[-2] != (n_fft // 2 + 1 if onesided else n_fft):
        raise RuntimeError(
            f"istft: expected the frequency dimension (3rd to the last) of the input tensor to "
            f"match n_fft {'/ 2 + 1 when onesided=True' if onesided else 'when onesided=False'}, "
            f"but got {self.shape[-2]}"
        )
    _check_frames("istft", n_fft, hop, win_length)
    if return_complex and onesided:
        raise RuntimeError("cannot have onesided output if window or input is complex")
    full = _full_window("istft", window, win_length, n_fft, self)
    if full is None:
        full = self.real.new_ones((n_fft,))
    expected = n_fft + hop * (self.shape[-1] - 1)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else expected - (n_fft // 2 if center else 0)
    found, smallest = _istft(
        self, full, n_fft, hop, normalized, onesided, start, end, not return_complex
    )
    if readable(smallest) and not float(to_host(smallest)) > 1e-11:
        raise RuntimeError(f"istft: window overlap add min: {float(to_host(smallest))}")
    return found
