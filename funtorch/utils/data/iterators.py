"""One pass over a DataLoader: what `iter(loader)` gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from funtorch import dtypes, lowering
from funtorch.ops.creation import empty
from funtorch.utils.data import workers
from funtorch.utils.data.collate import default_collate
from funtorch.utils.data.dataset import gather_batch


class _BaseDataLoaderIter:
    """The batches of one pass, one by one."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._reset(loader, first_iter=True)

    def _reset(self, loader: Any, first_iter: bool = False) -> None:
        """Begin a pass."""
        self._num_yielded = 0
        self._batches = self._start()

    def _start(self) -> Iterator[Any]:
        raise NotImplementedError

    def __iter__(self) -> _BaseDataLoaderIter:
        return self

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._num_yielded += 1
        # A new batch is a barrier: what the step before recorded runs while this one is used.
        lowering.flush()
        return batch

    def __len__(self) -> int:
        return len(self._loader._index_sampler)

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")

    def _draw_base_seed(self) -> int:
        """One draw per pass, as PyTorch makes it: the workers' seeds start from it."""
        made = empty((), dtype=dtypes.int64).random_(generator=self._loader.generator)
        return int(made.item())


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """Batches read in this process."""

    def _start(self) -> Iterator[Any]:
        self._draw_base_seed()
        return _streamed(self._loader) if self._loader._dataset_kind else _chosen(self._loader)


def _chosen(loader: Any) -> Iterator[Any]:
    plain = loader.collate_fn is default_collate
    for index in loader._index_sampler:
        if not loader._auto_collation:
            yield loader.collate_fn(loader.dataset[index])
            continue
        batch = gather_batch(loader.dataset, index) if plain else None
        if batch is None:
            batch = loader.collate_fn(workers.fetch(loader.dataset, index))
        yield batch


def _streamed(loader: Any) -> Iterator[Any]:
    samples = iter(loader.dataset)
    if loader.batch_size is None:
        yield from map(loader.collate_fn, samples)
        return
    while batch := list(itertools.islice(samples, loader.batch_size)):
        if len(batch) < loader.batch_size and loader.drop_last:
            return
        yield loader.collate_fn(batch)


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Batches read by workers."""

    _pool: workers.Pool | None = None

    def _start(self) -> Iterator[Any]:
        loader = self._loader
        pool = loader._pool
        if pool is None or not pool.usable():
            pool = workers.Pool(loader, self._draw_base_seed())  # persistent ones keep their seed
        self._pool = pool
        loader._pool = pool if loader.persistent_workers else None
        indices: Iterator[Any] | None = None
        if not loader._dataset_kind:
            indices = iter(loader._index_sampler)
            # The first ones are drawn now, as in PyTorch.
            ahead = itertools.islice(indices, loader.num_workers * loader.prefetch_factor)
            indices = itertools.chain(list(ahead), indices)
        return pool.run(indices)

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except BaseException:
            self.__del__()
            raise

    def _shutdown_workers(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()
            self._pool = self._loader._pool = None

    def __del__(self) -> None:
        if not self._loader.persistent_workers:
            self._shutdown_workers()
