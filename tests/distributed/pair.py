"""Runs the cases of a file in two processes of each library, all four at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LIBRARIES = ("funtorch", "torch")


def outcomes(cases: str, folder: Path) -> dict[str, list[dict]]:
    """By library: for each rank, what every case gave."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / "member.py"), library, cases, str(rank), str(folder)],
            env=environment,
        )
        for library in LIBRARIES
        for rank in range(2)
    ]
    try:
        statuses = [process.wait(400) for process in started]
    finally:
        for process in started:
            process.kill()
    assert statuses == [0] * 4
    return {
        library: [json.loads((folder / f"{library}-{rank}.json").read_text()) for rank in range(2)]
        for library in LIBRARIES
    }


def same(ours, theirs, tolerance: float = 1e-5) -> None:
    """Equal but for rounding."""
    if isinstance(theirs, float):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), (ours, theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, tolerance)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key], tolerance)
    elif isinstance(theirs, str):
        assert ours.replace("funtorch", "torch") == theirs
    else:
        assert ours == theirs


def compare(file: str, cases: Iterable[str], folder: Path, tolerance: float = 1e-5) -> None:
    """Run a file's cases (one test for all: the processes start once) and compare every outcome."""
    found, wrong = outcomes(file, folder), []
    for rank in range(2):
        ours, theirs = (found[library][rank] for library in LIBRARIES)
        for case in cases:
            try:
                same(ours[case], theirs[case], tolerance)
            except AssertionError:
                note = folder / f"funtorch-{rank}-{case}.txt"
                why = note.read_text() if note.exists() else f"{ours[case]}\n{theirs[case]}"
                wrong.append(f"{case}, rank {rank}:\n{why}")
    assert not wrong, "\n".join(wrong)
