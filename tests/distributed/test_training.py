"""Two processes that train together, against PyTorch with gloo."""

from __future__ import annotations

import pytest

from tests.distributed.pair import compare
from tests.distributed.training_cases import CASES

pytest.importorskip("torch", reason="real PyTorch is the oracle")


def test_two_processes_agree(tmp_path) -> None:
    compare("training_cases", CASES, tmp_path)
