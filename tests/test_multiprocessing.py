"""torch.multiprocessing: processes that are started together, and their errors."""

from __future__ import annotations

import os
import signal

import pytest

from funtorch import multiprocessing as processes


def puts(index, queue, offset):
    queue.put(index + offset)


def fails(index):
    if index == 1:
        raise ValueError("number one")


def dies(index):
    os.kill(os.getpid(), signal.SIGKILL) if index == 0 else None


def leaves(index):
    raise SystemExit(3)


def test_results() -> None:
    queue = processes.get_context("fork").SimpleQueue()
    processes.start_processes(puts, (queue, 10), nprocs=2, start_method="fork")
    assert sorted(queue.get() for _ in range(2)) == [10, 11]


@pytest.mark.parametrize(
    "function, error, said",
    [
        (fails, processes.ProcessRaisedException, "number one"),
        (dies, processes.ProcessExitedException, "signal SIGKILL"),
        (leaves, processes.ProcessExitedException, "exit code 3"),
    ],
)
def test_errors(function, error, said) -> None:
    with pytest.raises(error, match=said) as caught:
        processes.start_processes(function, nprocs=2, start_method="fork")
    assert caught.value.pid
    assert caught.value.error_index == (1 if function is fails else caught.value.error_index)


def test_strategies() -> None:
    before = processes.get_sharing_strategy()
    processes.set_sharing_strategy("file_system")
    assert processes.get_sharing_strategy() == "file_system"
    processes.set_sharing_strategy(before)
    with pytest.raises(AssertionError):
        processes.set_sharing_strategy("telepathy")
