"""safetensors and .pt files, against the libraries that own the formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funtorch.compat import weights

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
safetensors = pytest.importorskip("safetensors.torch", reason="the library owns the format")


def test_safetensors_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    theirs = {"w": torch.arange(6.0).view(2, 3), "h": torch.ones(2, dtype=torch.bfloat16)}
    safetensors.save_file(theirs, str(path))
    ours = weights.load_safetensors(path)
    assert {k: repr(v) for k, v in ours.items()} == {k: repr(v) for k, v in theirs.items()}
    again = tmp_path / "again.safetensors"
    weights.save_safetensors(ours, again)
    back = safetensors.load_file(str(again))
    assert {k: repr(v) for k, v in back.items()} == {k: repr(v) for k, v in theirs.items()}


def test_shared_memory_is_refused(tmp_path: Path) -> None:
    base = funtorch.ones(4)
    with pytest.raises(RuntimeError, match="share memory"):
        weights.save_safetensors({"a": base, "b": base[1:]}, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": {"w": torch.ones(2)}, "epoch": 3}, path)
    found = weights.load_arrays(path)
    assert list(found) == ["model.w"]
    np.testing.assert_array_equal(found["model.w"], np.ones(2, np.float32))
