"""A process that is late, or dies, is an error that names rank and collective; and SyncBatchNorm."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import funtorch.distributed as d

EXPECTED = (
    "[0]: params[0] in this process with ((2, 3), 'torch.float32') appears not to match",
    "SyncBatchNorm [True, True, True, True]",
    "[Rank 0]: Rank 1 failed to pass monitoredBarrier in 300 ms",
    "all_reduce: rank 0 waited for rank 1, which did not come within the timeout of 0.3 s",
    "recv: rank 0 waited for rank 1, which did not come within the timeout of 0.3 s",
    "recv: rank 0: rank 1 sent 16 bytes where 12 were expected",
    "all_gather_object: rank 0: the connection to rank 1 was closed by that process",
    "recv: rank 0: the connection to rank 1 was closed by that process",
)


def test_errors_say_who_and_what(tmp_path) -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here.parent.parent)}
    first, second = (
        subprocess.Popen(
            [sys.executable, str(here / "ours_alone.py"), str(rank), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    )
    lines = first.communicate(timeout=300)[0].splitlines()
    second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 3)
    assert len(lines) == len(EXPECTED)
    for line, expected in zip(lines, EXPECTED, strict=True):
        assert line.startswith(expected)


def test_nobody_comes(tmp_path) -> None:
    limit = timedelta(seconds=0.2)
    with pytest.raises(d.DistError, match=r"0\.2 s|200ms"):
        d.init_process_group("gloo", f"file://{tmp_path}/store", limit, world_size=2, rank=0)
    with pytest.raises(d.DistNetworkError, match="no connection"):
        d.init_process_group("gloo", "tcp://localhost:9", limit, world_size=2, rank=1)
    assert not d.is_initialized()
