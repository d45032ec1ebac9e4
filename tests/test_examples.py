"""The main job: an unmodified PyTorch program on real data, run as a person runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_the_demo_reaches_97_percent_and_its_weights_load_in_torch(tmp_path):
    pytest.importorskip("sklearn", reason="the demo's data come with scikit-learn")
    weights = tmp_path / "digits.pt"
    program = [str(EXAMPLES / "digits_cnn.py"), "--epochs", "8", "--save", str(weights)]
    command = [sys.executable, "-m", "funtorch", "run", "--report", *program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r"final test accuracy ([\d.]+)%", done.stdout)[1])
    assert accuracy >= 97
    assert "compilations" in done.stdout
    torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
    state = torch.load(weights)
    assert state["conv1.weight"].shape == (16, 1, 3, 3)
