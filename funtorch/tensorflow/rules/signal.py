"""Fourier transforms and filter banks. Complex numbers are pairs in a last dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from funtorch.onnx.signal import mel_weight_matrix
from funtorch.tensorflow.emission import extents, rule

rule("MelWeightMatrix", raw=True)(mel_weight_matrix)


def _complex(x: Any) -> Any:
    """[..., 1] or [..., 2] -> complex [...]; what is narrower than single in single."""
    x = x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
    return tf.complex(x[..., 0], x[..., 1] if x.shape[-1] == 2 else tf.zeros_like(x[..., 0]))


def _pairs(x: Any, dtype: Any) -> Any:
    """complex [...] -> [..., 2]"""
    return tf.cast(tf.stack([tf.math.real(x), tf.math.imag(x)], -1), dtype)


def _whole(value: Any) -> int | None:
    return None if value is None else int(np.asarray(value).reshape(()))


@rule("DFT", until=19, host="length")
def dft_17(
    x: Any, length: Any = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Any:
    """Discrete Fourier transform along axis."""
    return dft(x, length, axis, inverse=inverse, onesided=onesided)


@rule("DFT", since=20, host="length axis")
def dft(
    x: Any, length: Any = None, axis: Any = None, *, inverse: int = 0, onesided: int = 0
) -> Any:
    """Discrete Fourier transform along axis. x: [..., 1] real or [..., 2] complex"""
    at = -2 if axis is None else _whole(axis)
    at = at % x.shape.rank
    z = _complex(x)
    order = [i for i in range(z.shape.rank) if i != at] + [at]
    z, count = tf.transpose(z, order), _whole(length)
    if inverse and onesided:
        size = 2 * (extents(z)[-1] - 1) if count is None else count
        made = tf.signal.irfft(z, [size])
        return tf.cast(_moved_back(made, order)[..., None], x.dtype)
    if count is not None:
        z = z[..., :count]
        z = tf.pad(z, [(0, 0)] * (z.shape.rank - 1) + [(0, count - extents(z)[-1])])
    if x.shape[-1] == 1 and not inverse:
        made = _of_real(tf.math.real(z), onesided)
    else:
        made = tf.signal.ifft(z) if inverse else tf.signal.fft(z)
        made = made[..., : extents(made)[-1] // 2 + 1] if onesided else made
    return _pairs(_moved_back(made, order), x.dtype)


def _of_real(x: Any, onesided: int) -> Any:
    """Half of the transform of real values; the other half is its mirror image. x: [..., T]"""
    half = tf.signal.rfft(x)
    if onesided:
        return half
    rest = half[..., 1 : (extents(x)[-1] + 1) // 2]
    return tf.concat([half, tf.math.conj(tf.reverse(rest, [-1]))], -1)


def _moved_back(x: Any, order: Any) -> Any:
    return tf.transpose(x, np.argsort(order))


@rule("STFT", host="step length")
def stft(x: Any, step: Any, window: Any = None, length: Any = None, *, onesided: int = 1) -> Any:
    """Transforms of windows. x: [N, T, 1 or 2] -> [N, frames, bins, 2]"""
    size = _whole(length) or window.shape[0]
    cut = tf.signal.frame(_complex(x), size, _whole(step))
    if window is not None:
        cut *= tf.cast(window, cut.dtype)
    made = tf.signal.fft(cut)
    return _pairs(made[..., : size // 2 + 1] if onesided else made, x.dtype)
