"""Worker processes of the DataLoader.

A worker is forked, so that programs need no `if __name__ == "__main__"`. JAX's threads do not
survive a fork: a worker must not compute with JAX.
Tensors of the dataset are therefore read to the host
before the fork, and default collation works on NumPy arrays there. A dataset whose samples need a
tensor to be computed makes the worker give up on them: the parent then computes its batches itself
(in one process, with a warning), so that such a program runs, if without the workers' speed.
"""

from __future__ import annotations

import collections.abc
import contextlib
import itertools
import multiprocessing
import os
import queue
import random
import time
import traceback
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker, shared_memory
from typing import Any

import numpy as np

from funtorch.dispatch import to_host
from funtorch.lowering import ForkedError, forbid
from funtorch.random import manual_seed
from funtorch.tensor import Tensor, from_host
from funtorch.utils.data.collate import default_collate, default_convert
from funtorch.utils.data.dataset import IterableDataset, TensorDataset


@dataclass
class WorkerInfo:
    """What `get_worker_info()` returns inside a worker."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None

SHARED_FROM = 1 << 16  # bytes; smaller arrays are pickled


def get_worker_info() -> WorkerInfo | None:
    """Which worker this is; None in the main process."""
    return _info


def fetch(dataset: Any, indices: Sequence[Any]) -> list[Any]:
    """The samples at some indices, all at once if the dataset can."""
    many = getattr(dataset, "__getitems__", None)
    return list(many(indices)) if many is not None else [dataset[i] for i in indices]


class HostTensors:
    """A TensorDataset inside a worker: NumPy arrays instead of tensors."""

    def __init__(self, dataset: TensorDataset) -> None:
        self.arrays = [np.array(to_host(t.detach())) for t in dataset.tensors]

    def __getitem__(self, index: Any) -> tuple[np.ndarray[Any, Any], ...]:
        return tuple(a[index] for a in self.arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])


def _host_dataset(dataset: Any) -> Any:
    """The dataset as a worker sees it; made in the parent, before the fork."""
    if type(dataset) is TensorDataset:
        return HostTensors(dataset)
    if (
        hasattr(dataset, "dataset")
        and hasattr(dataset, "indices")
        and (type(dataset.dataset) is TensorDataset)
    ):
        return type(dataset)(HostTensors(dataset.dataset), dataset.indices)
    return dataset


# Transfer -----------------------------------------------------------------------------------------


@dataclass
class Shipped:
    """An array on its way: in shared memory, or (small ones) as it is."""

    name: str | None
    shape: tuple[int, ...]
    dtype: Any
    array: Any = None


def ship(data: Any) -> Any:
    """Nested data with arrays made ready to travel. Tensors become arrays."""
    if isinstance(data, Tensor):
        data = to_host(data)
    if isinstance(data, np.ndarray) and data.dtype.kind not in "USO":
        if data.nbytes < SHARED_FROM:
            return Shipped(None, data.shape, data.dtype, data)
        memory = (
            shared_memory.SharedMemory(create=True, size=data.nbytes, track=False)
            if (_HAS_TRACK)
            else shared_memory.SharedMemory(create=True, size=data.nbytes)
        )
        np.ndarray(data.shape, data.dtype, memory.buf)[...] = data
        name = memory.name
        memory.close()
        return Shipped(name, data.shape, data.dtype)
    return _walk(data, ship)


_HAS_TRACK = "track" in shared_memory.SharedMemory.__init__.__code__.co_varnames


def unship(data: Any) -> Any:
    """The arrived data, arrays as tensors. Frees the shared memory."""
    if isinstance(data, Shipped):
        if data.name is None:
            return from_host(data.array)
        memory = shared_memory.SharedMemory(name=data.name)
        try:
            return from_host(np.ndarray(data.shape, data.dtype, memory.buf))
        finally:
            memory.close()
            memory.unlink()
    return _walk(data, unship)


def free(data: Any) -> Any:
    """Free the shared memory of data that is not wanted any more."""
    if not isinstance(data, Shipped):
        return _walk(data, free)
    if data.name is not None:
        memory = shared_memory.SharedMemory(name=data.name)
        memory.close()
        memory.unlink()
    return None


def _walk(data: Any, function: Any) -> Any:
    if isinstance(data, collections.abc.Mapping):
        return {k: function(v) for k, v in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(function(v) for v in data))
    if isinstance(data, list | tuple):
        return type(data)(function(v) for v in data)
    return data


def host_collate(batch: Sequence[Any]) -> Any:
    """`default_collate` without JAX: arrays and numbers become arrays."""
    first = batch[0]
    if isinstance(first, Tensor):
        return np.stack([to_host(t) for t in batch])
    if isinstance(first, np.ndarray) and first.dtype.kind not in "USO":
        return np.stack(batch)
    if isinstance(first, np.generic | bool | int):
        return np.array(batch)
    if isinstance(first, float):
        return np.array(batch, np.float64)
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, collections.abc.Mapping):
        return {key: host_collate([d[key] for d in batch]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(host_collate(list(s)) for s in zip(*batch, strict=True)))
    if isinstance(first, collections.abc.Sequence):
        return [host_collate(list(samples)) for samples in zip(*batch, strict=True)]
    return default_collate(batch)  # raises, saying what it cannot do


# The worker's side --------------------------------------------------------------------------------


@dataclass
class Failure:
    """An exception of a worker, with its traceback as text."""

    kind: type[BaseException]
    text: str
    worker: int

    def reraise(self) -> None:
        """Raise it in the parent, as the same type where that can be made from a text."""
        message = f"Caught {self.kind.__name__} in DataLoader worker process {self.worker}.\n" + (
            f"Original {self.text}"
        )
        try:
            raised = KeyError(message) if self.kind is KeyError else self.kind(message)
        except Exception:
            raised = RuntimeError(message)
        raise raised


class End:
    """What a worker sends when its stream has no more data."""


RESUME = "resume"
"""The task that starts a persistent worker's stream again."""


def _serve(setup: Any, worker: int, seed: int, tasks: Any, results: Any, forked: bool) -> None:
    global _info
    if forked:
        forbid()
    dataset, collate, init, count, batch_size, drop_last, batched = setup
    random.seed(seed + worker)
    # As PyTorch does: entropy of worker and seed, mixed by NumPy's own SeedSequence.
    words = [worker, seed & 0xFFFFFFFF, seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(words).generate_state(4))
    manual_seed(seed + worker)
    _info = WorkerInfo(worker, count, seed + worker, dataset)
    try:
        if init is not None:
            init(worker)
        stream = iter(dataset) if isinstance(dataset, IterableDataset) else None
    except Exception as error:
        results.put((None, Failure(type(error), traceback.format_exc(), worker)))
        return
    while (task := tasks.get()) is not None:
        if task == RESUME:
            stream = iter(dataset) if isinstance(dataset, IterableDataset) else None
            continue
        number, index = task
        try:
            if stream is not None:
                data = _next_of(stream, collate, batch_size, drop_last)
            elif batched:
                data = collate(fetch(dataset, index))
            else:
                data = collate(dataset[index])
            results.put((number, data if isinstance(data, End) else ship(data)))
        except Exception as error:
            results.put((number, Failure(type(error), traceback.format_exc(), worker)))


def _next_of(stream: Iterator[Any], collate: Any, batch_size: int | None, drop: bool) -> Any:
    if batch_size is None:
        for sample in stream:
            return collate(sample)
        return End()
    batch = list(itertools.islice(stream, batch_size))
    if not batch or (drop and len(batch) < batch_size):
        return End()
    return collate(batch)


# The parent's side --------------------------------------------------------------------------------


GAVE_UP = (
    "the dataset or collate_fn computes with tensors, which forked workers cannot do: the main "
    "process reads the rest of this pass itself. Work on NumPy arrays there to use the workers."
)


class Pool:
    """The workers of one loader."""

    def __init__(self, loader: Any, seed: int) -> None:
        context = loader.multiprocessing_context or "fork"
        if isinstance(context, str):
            context = multiprocessing.get_context(context)
        # Weak: a dropped loader closes its workers at once, not at some collection.
        self.loader = weakref.proxy(loader)
        self.owner = os.getpid()
        self.count = loader.num_workers
        forks = context.get_start_method() == "fork"
        self.passes = 0
        self.waiting: dict[tuple[int, int], Any] = {}
        if forks:
            # One tracker for all processes, or each worker starts its own and calls what the parent
            # has freed a leak.
            resource_tracker.ensure_running()
        self.results = context.Queue()
        self.tasks = [context.Queue() for _ in range(self.count)]
        collate = loader.collate_fn
        if collate is default_collate:
            collate = host_collate
        elif collate is default_convert:
            collate = _as_it_is
        setup = (
            _host_dataset(loader.dataset),
            collate,
            loader.worker_init_fn,
            self.count,
            loader.batch_size,
            loader.drop_last,
            loader._auto_collation,
        )
        self.processes = [
            context.Process(
                target=_serve,
                args=(setup, i, seed, self.tasks[i], self.results, forks),
                daemon=True,
            )
            for i in range(self.count)
        ]
        for process in self.processes:
            with warnings.catch_warnings():
                # JAX warns of every fork; these children never call it.
                warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
                process.start()

    def usable(self) -> bool:
        """Are all workers alive?"""
        return all(p.is_alive() for p in self.processes)

    def run(self, indices: Iterator[Any] | None) -> Iterator[Any]:
        """All batches, in order. indices: None if the workers know themselves what comes next."""
        self._forget(self.waiting.values())
        self.waiting.clear()
        if self.passes:
            for tasks in self.tasks:
                tasks.put(RESUME)
        self.passes += 1
        sent = 0
        ahead = self.count * self.loader.prefetch_factor
        source = itertools.repeat(None) if indices is None else indices
        asked: collections.deque[Any] = collections.deque()  # what was sent and is not there yet
        finished: set[int] = set()
        wanted = 0
        while True:
            for index in itertools.islice(source, max(0, wanted + ahead - sent)):
                self.tasks[sent % self.count].put(((self.passes, sent), index))
                asked.append(index)
                sent += 1
            if not asked:
                return
            data = self._receive((self.passes, wanted), indices is not None)
            if isinstance(data, Failure):
                warnings.warn(GAVE_UP, stacklevel=3)
                yield from map(self._here, itertools.chain(asked, source))
                return
            asked.popleft()
            if isinstance(data, End):
                finished.add(wanted % self.count)
                wanted += 1
                if len(finished) == self.count:
                    return
                continue
            wanted += 1
            yield unship(data)

    def _here(self, index: Any) -> Any:
        """One batch, computed in this process."""
        loader = self.loader
        if loader._auto_collation:
            return loader.collate_fn(fetch(loader.dataset, index))
        return loader.collate_fn(loader.dataset[index])

    def _receive(self, wanted: tuple[int, int], again: bool) -> Any:
        """One batch; the failure itself if XLA was missed and the parent can do it (`again`)."""
        while wanted not in self.waiting:
            number, data = self._get()
            if number is None:
                data.reraise()
            if number[0] == wanted[0]:
                self.waiting[number] = data
            else:
                self._forget([data])  # of a pass that was left early
        data = self.waiting.pop(wanted)
        if isinstance(data, Failure) and not (again and issubclass(data.kind, ForkedError)):
            data.reraise()
        return data

    def _get(self) -> Any:
        limit = self.loader.timeout or None
        waited = 0.0
        while True:
            try:
                return self.results.get(timeout=1.0)
            except queue.Empty:
                waited += 1.0
                if limit is not None and waited >= limit:
                    raise RuntimeError(f"DataLoader timed out after {limit} seconds") from None
                dead = [p for p in self.processes if not p.is_alive()]
                if dead:
                    raise RuntimeError(
                        f"DataLoader worker (pid(s) {', '.join(str(p.pid) for p in dead)}) exited "
                        "unexpectedly"
                    ) from None

    def close(self) -> None:
        """End the workers and free what was still on its way."""
        if os.getpid() != self.owner:
            return  # a forked copy of the parent's object
        for tasks in self.tasks:
            with contextlib.suppress(queue.Empty):
                while True:
                    tasks.get_nowait()
            tasks.put(None)
        end = time.monotonic() + 5.0
        # Take what they still send while they end: a worker with unread results does not end.
        while any(p.is_alive() for p in self.processes) and time.monotonic() < end:
            self._drain(0.02)
        for process in self.processes:
            if process.is_alive():
                process.terminate()
            process.join()
        self._drain(0.02)
        self._forget(self.waiting.values())
        self.waiting.clear()

    def _drain(self, seconds: float) -> None:
        while True:
            try:
                _, data = self.results.get(timeout=seconds)
            except (queue.Empty, OSError, ValueError):
                return
            self._forget([data])

    @staticmethod
    def _forget(arrived: Iterable[Any]) -> None:
        """Free the shared memory of data that nobody will read."""
        for data in arrived:
            if not isinstance(data, Failure | End):
                free(data)


def _as_it_is(sample: Any) -> Any:
    return sample
