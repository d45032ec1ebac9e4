"""DataLoader throughput beside PyTorch's: map and iterable datasets, without and with workers.

Run as `python -m benchmarks.loading`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import funtorch
from benchmarks.__main__ import real_torch
from benchmarks.timing import medians

SAMPLES, BATCH = 4096, 64


class Maps:
    """Samples by index: an image and a label."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((3, 16, 16), index, np.float32), index


def iterable(lib: Any) -> Any:
    """The same samples as a stream, shared out among workers."""

    class Stream(lib.utils.data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
            info = lib.utils.data.get_worker_info()
            first, step = (0, 1) if info is None else (info.id, info.num_workers)
            for index in range(first, SAMPLES, step):
                yield np.full((3, 16, 16), index, np.float32), index

    return Stream()


def epoch(lib: Any, dataset: Any, workers: int) -> Any:
    """A function that reads one epoch, with workers that stay."""
    loader = lib.utils.data.DataLoader(
        dataset, BATCH, num_workers=workers, persistent_workers=workers > 0
    )

    def read() -> int:
        count = 0
        for images, _ in loader:
            count += len(images)
        assert count == SAMPLES
        return count

    return read


def main() -> None:
    """Print samples per second and ratios."""
    libraries = [lib for lib in (funtorch, real_torch()) if lib is not None]
    for kind in ("map", "iterable"):
        for workers in (0, 2):
            epochs = {
                lib.__name__: epoch(lib, Maps() if kind == "map" else iterable(lib), workers)
                for lib in libraries
            }
            seconds = medians(epochs, 5, 1)
            shown = ", ".join(f"{who} {SAMPLES / s:9.0f}/s" for who, s in seconds.items())
            ratio = seconds.get("torch", float("nan")) / seconds["funtorch"]
            print(f"{kind:9}{workers} workers: {shown}, ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
