"""`funtorch run --nproc-per-node` and its kin start programs as torchrun does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from funtorch.distributed import run

HERE = Path(__file__).parent
PROGRAM = str(HERE / "launched.py")


def started(*arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    environment["PYTHONPATH"] = str(HERE.parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True
    )
    return done.returncode, sorted(done.stdout.splitlines()), done.stderr


def expected(attempt, *arguments):
    return [
        f"funtorch [3.0, 3.0] True {rank} {rank} 2 2 {attempt} {list(arguments)}"
        for rank in range(2)
    ]


def test_a_failure_and_a_new_start() -> None:
    options = ["--standalone", "--nproc-per-node=2", "--max-restarts", "1"]
    status, lines, errors = started("funtorch.distributed.run", *options, PROGRAM, "fail", "--x")
    assert (status, lines) == (0, sorted(expected(0, "fail", "--x") + expected(1, "fail", "--x")))
    assert "rank 1 of 2 ended with exit code 5" in errors


def test_failing_for_good() -> None:
    script = (
        "import os, sys; r = os.environ['RANK']; print(r, flush=True); sys.exit(5 * (r == '1'))"
    )
    options = ["--nproc_per_node", "2", "--no-python"]
    status, _, errors = started("funtorch", "run", *options, sys.executable, "-c", script)
    assert status == 1
    assert "rank 1 of 2 ended with exit code 5" in errors


@pytest.mark.parametrize("wrong", [["--nproc-per-node", "many"], ["--nnodes", "1:4"]])
def test_refused(wrong) -> None:
    with pytest.raises(ValueError, match=wrong[0]):
        run.main([*wrong, PROGRAM])
