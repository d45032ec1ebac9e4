"""Collectives of two processes, against PyTorch with gloo."""

from __future__ import annotations

import pytest

from tests.distributed.collective_cases import CASES
from tests.distributed.pair import compare

pytest.importorskip("torch", reason="real PyTorch is the oracle")


def test_two_processes_agree(tmp_path) -> None:
    compare("collective_cases", CASES, tmp_path)
