"""DataLoader: batches of a dataset, read in this process or by workers.

Workers are threads' opposite here: separate processes started with `fork`, which never touch JAX's
runtime (it does not survive a fork). A worker computes samples; whatever tensors it holds travel as
NumPy arrays, and the parent makes tensors of them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from funtorch import dtypes, lowering
from funtorch.ops.creation import empty
from funtorch.utils.data import workers
from funtorch.utils.data.collate import default_collate, default_convert
from funtorch.utils.data.dataset import Dataset, IterableDataset, gather_batch
from funtorch.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler

get_worker_info = workers.get_worker_info


class DataLoader:
    """Iterate over batches of a dataset; see PyTorch's class of the same name for the arguments."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset, self.num_workers, self.timeout = dataset, num_workers, timeout
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.worker_init_fn, self.generator = worker_init_fn, generator
        self.multiprocessing_context = multiprocessing_context
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers, self.in_order = persistent_workers, in_order
        self.iterable = isinstance(dataset, IterableDataset)
        _check_sampling(self.iterable, shuffle, sampler, batch_sampler, batch_size, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None and not self.iterable:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else (SequentialSampler(dataset))
            )
        if batch_size is not None and batch_sampler is None and not self.iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        batched = batch_sampler is not None or (self.iterable and batch_size is not None)
        self.batched = batched
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self._pool: workers.Pool | None = None

    def __len__(self) -> int:
        if self.iterable:
            n = len(self.dataset)
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.batch_sampler if self.batched else self.sampler)

    def __iter__(self) -> Iterator[Any]:
        source = self._by_workers() if self.num_workers else self._here()
        for batch in source:
            # A new batch is a barrier: what the step before recorded runs while this one is used.
            lowering.flush()
            yield batch

    # In this process ------------------------------------------------------------------------------

    def _here(self) -> Iterator[Any]:
        self._draw_base_seed()
        if self.iterable:
            yield from self._stream()
            return
        plain = self.collate_fn is default_collate
        for index in self.batch_sampler if self.batched else self.sampler:
            if not self.batched:
                yield self.collate_fn(self.dataset[index])
                continue
            batch = gather_batch(self.dataset, index) if plain else None
            yield self.collate_fn(workers.fetch(self.dataset, index)) if batch is None else batch

    def _stream(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from map(self.collate_fn, samples)
            return
        while batch := list(itertools.islice(samples, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield self.collate_fn(batch)

    def _draw_base_seed(self) -> int:
        """One draw per pass, as PyTorch makes it: the workers' seeds start from it."""
        made = empty((), dtype=dtypes.int64).random_(generator=self.generator)
        return int(made.item())

    # By workers -----------------------------------------------------------------------------------

    def _by_workers(self) -> Iterator[Any]:
        pool = self._pool
        seed = 0
        if pool is None or not pool.usable():
            seed = self._draw_base_seed()  # persistent workers keep theirs
            pool = workers.Pool(self, seed)
            self._pool = pool if self.persistent_workers else None
        indices = (
            None if self.iterable else list(self.batch_sampler if self.batched else self.sampler)
        )
        try:
            yield from pool.run(indices, seed)
        finally:
            if not self.persistent_workers:
                pool.close()

    def __del__(self) -> None:
        pool = self.__dict__.get("_pool")
        if pool is not None:
            with contextlib.suppress(Exception):
                pool.close()


def _check(num_workers: int, timeout: float, prefetch: int | None, persistent: bool) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing. let num_workers > "
            "0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch is not None and prefetch < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_sampling(
    iterable: bool,
    shuffle: bool | None,
    sampler: Any,
    batch_sampler: Any,
    batch_size: int | None,
    drop_last: bool,
) -> None:
    if iterable:
        for name, given in (
            ("shuffle", shuffle),
            ("sampler", sampler),
            ("batch_sampler", batch_sampler),
        ):
            if given not in (None, False):
                raise ValueError(
                    "DataLoader with IterableDataset: expected unspecified "
                    f"{name} option, but got {name}={given}"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (
        batch_size != 1 or shuffle or sampler is not None or drop_last
    ):
        raise ValueError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
            "drop_last"
        )
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError(
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
        )


__all__ = ["DataLoader", "Dataset", "get_worker_info"]
