"""torch.signal.windows: computed on the host in double precision, then cast."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy  # its parts load when they are first used

from funtorch import dtypes
from funtorch.layouts import strided
from funtorch.tensor import Tensor, from_host

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]

Shape = Callable[[np.ndarray, float], np.ndarray]


def _made(
    name: str,
    M: int,
    shape: Shape,
    *,
    sym: bool = True,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """shape(k, last): the window at the sample numbers k, the last of a symmetric one at `last`."""
    kind = dtypes.get_default_dtype() if dtype is None else dtype
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if kind not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind}")
    last = M - 1 if sym else M
    values = np.ones(M) if M < 2 else shape(np.arange(M, dtype=np.float64), last)
    return from_host(values.astype(kind.numpy), device=device, requires_grad=requires_grad)


def _cosines(coefficients: Iterable[float]) -> Shape:
    weights = list(coefficients)

    def shape(k: np.ndarray, last: float) -> np.ndarray:
        angle = 2 * np.pi * k / last
        return sum((-1) ** i * a * np.cos(i * angle) for i, a in enumerate(weights)) + 0 * k

    return shape


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, **how: Any) -> Tensor:
    """exp(-|n - center| / tau). -> [M]"""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if how.get("sym", True) and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    return _made(
        "exponential",
        M,
        lambda k, last: np.exp(-np.abs(k - (last / 2 if center is None else center)) / tau),
        **how,
    )


def cosine(M: int, **how: Any) -> Tensor:
    """Half a sine wave. -> [M]"""
    return _made("cosine", M, lambda k, last: np.sin(np.pi * (k + 0.5) / (last + 1)), **how)


def gaussian(M: int, *, std: float = 1.0, **how: Any) -> Tensor:
    """A bell of standard deviation `std` samples. -> [M]"""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return _made("gaussian", M, lambda k, last: np.exp(-(((k - last / 2) / std) ** 2) / 2), **how)


def kaiser(M: int, *, beta: float = 12.0, **how: Any) -> Tensor:
    """Kaiser's window, of shape parameter beta. -> [M]"""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")

    def shape(k: np.ndarray, last: float) -> np.ndarray:
        inside = np.clip(1 - ((k - last / 2) / (last / 2)) ** 2, 0, None)
        return scipy.special.i0(beta * np.sqrt(inside)) / scipy.special.i0(beta)

    return _made("kaiser", M, shape, **how)


def general_cosine(M: int, *, a: Iterable[float], **how: Any) -> Tensor:
    """A sum of cosines with the weights `a`. -> [M]"""
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    weights = list(a)
    if not weights:
        raise ValueError("Coefficients cannot be empty")
    return _made("general_cosine", M, _cosines(weights), **how)


def general_hamming(M: int, *, alpha: float = 0.54, **how: Any) -> Tensor:
    """alpha - (1 - alpha) cos. -> [M]"""
    return _made("general_hamming", M, _cosines([alpha, 1 - alpha]), **how)


def hamming(M: int, **how: Any) -> Tensor:
    """Hamming's window. -> [M]"""
    return _made("hamming", M, _cosines([0.54, 0.46]), **how)


def hann(M: int, **how: Any) -> Tensor:
    """Hann's window. -> [M]"""
    return _made("hann", M, _cosines([0.5, 0.5]), **how)


def blackman(M: int, **how: Any) -> Tensor:
    """Blackman's window. -> [M]"""
    return _made("blackman", M, _cosines([0.42, 0.5, 0.08]), **how)


def bartlett(M: int, **how: Any) -> Tensor:
    """A triangle. -> [M]"""
    return _made("bartlett", M, lambda k, last: 1 - np.abs(2 * k / last - 1), **how)


def nuttall(M: int, **how: Any) -> Tensor:
    """Nuttall's minimal four-term window. -> [M]"""
    return _made("nuttall", M, _cosines([0.3635819, 0.4891775, 0.1365995, 0.0106411]), **how)
