"""Fourier transforms and filter banks."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from funtorch.onnx.rules import Array, kernel, rule
from funtorch.tensor import Tensor


def _complex(x: Any) -> Any:
    """[..., 1] or [..., 2] -> complex [...]."""
    real = x[..., 0]
    return real + (1j * x[..., 1] if x.shape[-1] == 2 else 0)


@kernel
def _transform(x: Array, *, length: int | None, axis: int, inverse: bool, onesided: bool) -> Array:
    dtype = x.dtype
    if dtype.itemsize < 4:
        x = x.astype(jnp.float32)
    if inverse and onesided:
        return jnp.fft.irfft(_complex(x), length, axis)[..., None].astype(dtype)
    if x.shape[-1] == 1 and not inverse:
        y = _of_real(x[..., 0], length, axis, onesided)
    else:
        y = (jnp.fft.ifft if inverse else jnp.fft.fft)(_complex(x), length, axis)
        if onesided:
            y = jnp.take(y, jnp.arange(y.shape[axis] // 2 + 1), axis)
    return jnp.stack([y.real, y.imag], -1).astype(dtype)


def _of_real(x: Any, length: int | None, axis: int, onesided: bool) -> Any:
    """Half of the transform of real values; the other half is its mirror image."""
    half = jnp.fft.rfft(x, length, axis)
    if onesided:
        return half
    n = x.shape[axis] if length is None else length
    mirrored = jnp.take(half, np.arange((n - 1) // 2, 0, -1), axis)
    return jnp.concatenate([half, jnp.conj(mirrored)], axis)


@rule("DFT", until=19, host="length")
def dft_17(
    x: Tensor, length: Any = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """Discrete Fourier transform along axis."""
    return dft(x, length, axis, inverse=inverse, onesided=onesided)


@rule("DFT", since=20, host="length axis")
def dft(
    x: Tensor, length: Any = None, axis: Any = None, *, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """Discrete Fourier transform along axis. x: [..., 1] real or [..., 2] complex"""
    count = None if length is None else int(np.asarray(length).reshape(()))
    at = -2 if axis is None else int(np.asarray(axis).reshape(()))
    at = at - x.ndim if at >= 0 else at
    # The last dimension, real and imaginary part, is gone while it is transformed.
    return _transform(x, length=count, axis=at + 1, inverse=bool(inverse), onesided=bool(onesided))


@rule("STFT", host="step length")
def stft(
    x: Tensor, step: Any, window: Tensor | None = None, length: Any = None, *, onesided: int = 1
) -> Tensor:
    """Transforms of windows. x: [N, T, 1 or 2] -> [N, frames, bins, 2]"""
    size = int(np.asarray(length).reshape(())) if length is not None else window.shape[0]
    hop = int(np.asarray(step).reshape(()))
    return _stft_of(x, window, size=size, hop=hop, onesided=bool(onesided))


@kernel
def _stft_of(x: Array, window: Array | None, *, size: int, hop: int, onesided: bool) -> Array:
    frames = (x.shape[1] - size) // hop + 1
    at = np.arange(frames)[:, None] * hop + np.arange(size)
    cut = _complex(x)[:, at]
    cut = cut if window is None else cut * window
    y = jnp.fft.fft(cut, axis=-1)
    y = y[..., : size // 2 + 1] if onesided else y
    return jnp.stack([y.real, y.imag], -1).astype(x.dtype)


@rule("MelWeightMatrix", raw=True)
def mel_weight_matrix(
    bins: Any, length: Any, rate: Any, lower: Any, upper: Any, *, ctx: Any, output_datatype: int = 1
) -> Any:
    """[length / 2 + 1, bins]: triangles that are equally wide on the mel scale."""
    count, size, hertz = (int(np.asarray(ctx.host(v))) for v in (bins, length, rate))
    low, high = (2595 * np.log10(1 + float(np.asarray(ctx.host(v))) / 700) for v in (lower, upper))
    mel = np.arange(count + 2) * ((high - low) / (count + 2)) + low
    edges = ((size + 1) * (700 * (10 ** (mel / 2595) - 1)) // hertz).astype(np.int64)
    out = np.zeros((size // 2 + 1, count))
    for i in range(count):
        left, centre, right = edges[i : i + 3]
        if centre == left:
            out[centre, i] = 1
        else:
            rising = np.arange(left, centre + 1)
            out[rising, i] = (rising - left) / (centre - left)
        falling = np.arange(centre, right)
        out[falling, i] = (right - falling) / max(right - centre, 1)
    return ctx.tensor(out.astype(ctx.dtype(output_datatype)))
