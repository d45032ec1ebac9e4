"""utils.data against PyTorch: order, seeds, workers, errors."""

import itertools
import random
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BOTH = (torch, funtorch)


def tensors(t):
    return t.utils.data.TensorDataset(t.arange(40.0).reshape(10, 4), t.arange(10))


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True},
        {"shuffle": True, "num_workers": 2},
        {"drop_last": True},
        {"shuffle": True, "num_workers": 1, "persistent_workers": True},
    ],
)
def test_batches_and_the_stream_after_them(options):
    def epochs(t):
        t.manual_seed(3)
        loader = t.utils.data.DataLoader(tensors(t), batch_size=3, **options)
        seen = [(x.tolist(), y.tolist()) for _ in range(2) for x, y in loader]
        return seen, len(loader), t.randint(1000, (2,)).tolist()

    assert epochs(funtorch) == epochs(torch)


@pytest.mark.parametrize(
    "make",
    [
        lambda d, t: d.RandomSampler(range(50), True, 40),
        lambda d, t: d.RandomSampler(range(5), num_samples=12),
        lambda d, t: d.WeightedRandomSampler([0.1, 0.9, 0.4], 5),
        lambda d, t: d.SubsetRandomSampler([4, 7, 9]),
        lambda d, t: d.DistributedSampler(range(10), 3, 1, seed=2),
        lambda d, t: d.DistributedSampler(range(10), 3, 2, shuffle=False, drop_last=True),
        lambda d, t: d.DistributedSampler(range(2), 5, 4, shuffle=False),
        lambda d, t: [list(s.indices) for s in d.random_split(range(10), [0.5, 0.3, 0.2])],
    ],
)
def test_samplers(make):
    def drawn(t):
        t.manual_seed(1)
        return list(make(t.utils.data, t))

    assert drawn(funtorch) == drawn(torch)


def stream(t):
    class Stream(t.utils.data.IterableDataset):
        def __iter__(self):
            info = t.utils.data.get_worker_info()
            return iter(range(info.id, 11, info.num_workers))

    return Stream()


def test_streams_by_workers():
    def read(t):
        loader = t.utils.data.DataLoader(stream(t), 2, num_workers=2, persistent_workers=True)
        return [[b.tolist() for b in loader] for _ in range(2)]

    assert read(funtorch) == read(torch)


def samples(t, get):
    class Samples(t.utils.data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return get(t, i)

    return Samples()


def test_seeds_of_workers():
    def read(t):
        t.manual_seed(5)
        data = samples(t, lambda t, i: (random.random(), np.random.rand(), i))
        return [[c.tolist() for c in b] for b in t.utils.data.DataLoader(data, 2, num_workers=2)]

    assert read(funtorch) == read(torch)


def test_a_workers_error_keeps_its_type_and_traceback():
    def fail(t, i):
        raise IndexError(f"no sample {i}")

    loader = funtorch.utils.data.DataLoader(samples(funtorch, fail), 2, num_workers=1)
    with pytest.raises(IndexError, match=r"(?s)worker process 0.*Original Traceback.*no sample 0"):
        list(loader)


def test_tensors_computed_by_the_dataset():
    def read(t):
        data = samples(t, lambda t, i: t.tensor([float(i)]) * 2)
        return [b.tolist() for b in t.utils.data.DataLoader(data, 4, num_workers=1)]

    with pytest.warns(UserWarning, match="the main process"):
        ours = read(funtorch)
    assert ours == read(torch)


@pytest.mark.parametrize("persistent", [False, True])
def test_a_pass_left_early_leaves_nothing(persistent):
    before = set(Path("/dev/shm").glob("psm_*"))
    data = samples(funtorch, lambda t, i: np.full((300, 300), i, np.float32))
    loader = funtorch.utils.data.DataLoader(data, 1, num_workers=2, persistent_workers=persistent)
    for batch in loader:
        assert batch[0, 0, 0].item() == 0
        break
    assert [b[0, 0, 0].item() for b in loader] == [0, 1, 2, 3, 4, 5]
    del loader
    # Tests that run beside this one have segments of their own for a moment.
    deadline = time.monotonic() + 20
    while set(Path("/dev/shm").glob("psm_*")) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(Path("/dev/shm").glob("psm_*")) <= before


def test_writes_to_the_dataset_are_seen():
    data = tensors(funtorch)
    loader = funtorch.utils.data.DataLoader(data, batch_size=5)
    data.tensors[0].mul_(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert next(iter(loader))[0][1].tolist() == [8.0, 10.0, 12.0, 14.0]


def _from_where(lib, workers: int) -> list:
    """What one pass draws from the global generator, and when."""
    lib.manual_seed(0)
    loader = lib.utils.data.DataLoader([1, 2, 3, 4], 1, shuffle=True, num_workers=workers)
    batches = iter(loader)
    between = lib.rand(1).item()
    return [between, [b.item() for b in batches], lib.rand(1).item(), type(batches).__name__]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_begins_at_iter(workers):
    assert _from_where(funtorch, workers) == _from_where(torch, workers)


def test_endless_samplers_by_workers():
    loader = funtorch.utils.data.DataLoader(
        list(range(5)), sampler=itertools.cycle([3, 1]), batch_size=2, num_workers=1
    )
    assert [b.tolist() for b in itertools.islice(loader, 3)] == [[3, 1]] * 3


def test_what_libraries_ask_of_a_loader():
    def answers(lib):
        loader = lib.utils.data.DataLoader[int]([1, 2, 3], batch_size=2)
        with pytest.raises(ValueError, match="should not be set after DataLoader is initialized"):
            loader.batch_size = 3
        kind = lib.utils.data.dataloader._BaseDataLoaderIter
        begun = iter(loader)
        state = [len(begun), begun._num_yielded, next(begun).tolist(), begun._num_yielded]
        return [*state, isinstance(begun, kind), loader._auto_collation, loader._dataset_kind]

    assert answers(funtorch) == answers(torch)
