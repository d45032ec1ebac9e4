"""HistogramObserver: the range that loses least, from a histogram of what was seen.

PyTorch's, after NormMinimization of caffe2. It computes on the host, where it reads what it watches.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import funtorch as torch
from funtorch import qschemes
from funtorch.ao.quantization.observer import UniformQuantizationObserverBase
from funtorch.tensor import Tensor

Array = np.ndarray[Any, Any]
_FINER = 16  # parts of a bin when a histogram moves to a wider range


class HistogramObserver(UniformQuantizationObserverBase):
    """A histogram of `bins` bins over all values seen."""

    SCHEMES = qschemes.PER_TENSOR
    DYNAMIC = False

    def __init__(self, bins: int = 2048, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bins = bins
        self.register_buffer("histogram", torch.zeros(bins, **self.factory))
        self.register_buffer("min_val", torch.tensor(float("inf"), **self.factory))
        self.register_buffer("max_val", torch.tensor(float("-inf"), **self.factory))
        self.dst_nbins = 2 ** torch.iinfo(self.dtype).bits

    def forward(self, x_orig: Tensor) -> Tensor:
        """Watch. [...] -> the same"""
        x = x_orig.detach().to(torch.float32).cpu().numpy().ravel()
        if np.isinf(x).any():
            warnings.warn("torch.inf detected in input tensor, ignoring input", stacklevel=2)
            x = x[np.isfinite(x)]
        if not x.size:
            return x_orig
        before = float(self.min_val), float(self.max_val)
        least, most = min(before[0], float(x.min())), max(before[1], float(x.max()))
        counts = self._counted(x, least, most)
        if not np.isinf(before[0]):
            known = self.histogram.cpu().numpy()
            moved = known if before == (least, most) else self._moved(known, before, (least, most))
            counts = counts + moved
        self.histogram.copy_(torch.from_numpy(counts.astype(np.float32)))
        self.min_val.fill_(least)
        self.max_val.fill_(most)
        return x_orig

    def _counted(self, x: Array, least: float, most: float) -> Array:
        ends = torch.from_numpy(x)
        return torch.histc(ends, self.bins, min=least, max=most).numpy()  # type: ignore[no-any-return]

    def _moved(self, counts: Array, before: tuple[float, float], now: tuple[float, float]) -> Array:
        """A histogram over a wider range."""
        if before[0] == before[1]:
            return self._counted(np.array(before[:1], np.float32), *now) * counts.sum()
        fine = np.repeat(counts, _FINER) / _FINER
        size = (before[1] - before[0]) / len(fine)
        middles = np.linspace(*before, len(fine) + 1)[:-1] + 0.5 * size
        places = np.digitize(middles, np.linspace(*now, self.bins + 1)) - 1
        return np.bincount(places.clip(0, self.bins - 1), fine, self.bins)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(scale, zero point) for the best range. -> [1], [1]"""
        if np.isinf(float(self.min_val)):
            return self._calculate_qparams(self.min_val, self.max_val)
        least, most = self._best_range()
        return self._calculate_qparams(
            torch.tensor(least, dtype=torch.float32), torch.tensor(most, dtype=torch.float32)
        )

    def _best_range(self) -> tuple[float, float]:
        """Narrow the range from both ends by small shares of all values, while the error shrinks."""
        counts = self.histogram.cpu().numpy()
        sums, total = np.cumsum(counts, dtype=np.float32), float(counts.sum())
        low, step, alpha, beta = float(self.min_val), 1e-5, 0.0, 1.0
        width = (float(self.max_val) - low) / self.bins
        start, end, best = 0, self.bins - 1, float("inf")
        while alpha < beta:
            left = min(max(int(np.searchsorted(sums, (alpha + step) * total)), start), end)
            right = int(np.searchsorted(sums, (beta - step) * total, "right")) - 1
            right = max(min(right, end), start)
            next_start, next_end = start, end
            if left - start > end - right:
                next_start, alpha = left, alpha + step
            else:
                next_end, beta = right, beta - step
            if (next_start, next_end) == (start, end):
                continue
            error = self._error(counts, width, next_start, next_end)
            if error > best:
                break
            best, start, end = error, next_start, next_end
        return low + width * start, low + width * (end + 1)

    def _error(self, counts: Array, width: float, start: int, end: int) -> float:
        """The squared error of quantising, if only bins start to end are representable."""
        wide = width * (end - start + 1) / self.dst_nbins
        if wide == 0:
            return 0.0
        begins = (np.arange(self.bins) - start) * width
        ends = begins + width
        first = np.clip(np.floor_divide(begins, wide), 0, self.dst_nbins - 1)
        last = np.clip(np.floor_divide(ends, wide), 0, self.dst_nbins - 1)
        density = counts / width

        def norm(a: Any, b: Any) -> Any:
            return density * (b * b * b - a * a * a) / 3

        found = norm(begins - (first + 0.5) * wide, wide / 2)
        found = found + (last - first - 1) * norm(-wide / 2, wide / 2)
        return float((found + norm(-wide / 2, ends - (last + 0.5) * wide)).sum())


default_histogram_observer = HistogramObserver.with_args(quant_min=0, quant_max=127)
