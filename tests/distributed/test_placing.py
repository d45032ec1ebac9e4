"""DTensors and checkpoints of two processes, against PyTorch with gloo."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import funtorch
import funtorch.distributed.checkpoint as ours
from tests.distributed.pair import compare
from tests.distributed.placing_cases import CASES

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


@pytest.mark.filterwarnings("ignore")
def test_two_processes_agree(tmp_path) -> None:
    compare("placing_cases", CASES, tmp_path)
    import torch.distributed.checkpoint as theirs

    for library, part, folder in ((funtorch, ours, "torch"), (torch, theirs, "funtorch")):
        state = {"cut": library.zeros(5, 3), "nested": {"list": [library.zeros(2).double(), 0]}}
        part.load(state, checkpoint_id=tmp_path / folder)
        assert state["cut"].tolist() == torch.arange(15.0).reshape(5, 3).tolist()
        assert [state["nested"]["list"][0].tolist(), state["nested"]["list"][1]] == [[1, 1], 5]


class Harm:
    """What a stranger could write into a file."""

    def __reduce__(self):
        return Path.touch, (Path("harm"),)


def test_a_strangers_file_runs_no_code(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(ours.CheckpointException, match="names"):
        ours.load({"a": funtorch.zeros(1)}, checkpoint_id=tmp_path)
    ours.save({"a": funtorch.ones(1), "b": Path("x")}, checkpoint_id=tmp_path)
    with pytest.raises(ours.CheckpointException, match="Weights only"):
        ours.load({"b": None}, checkpoint_id=tmp_path)
    assert not (tmp_path / "harm").exists()
