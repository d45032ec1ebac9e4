"""funtorch compile, inspect and bench, as a user types them."""

import os
import subprocess
import sys

import pytest
from funtorch.compat import cli

import funtorch

MODEL = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x, scale):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3))) * scale

def build():
    return Net()
"""


def run(*arguments):
    """(exit status, what was printed, what was complained about), in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-P", "-m", "funtorch", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    return found.returncode, found.stdout, found.stderr


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


def test_compile_inspect_bench(model, tmp_path):
    out = tmp_path / "net.ftpkg"
    arguments = ["--input", "scale=float32[batch, 1]", "--input", "x=float32[batch,3,9,9]"]
    ranges = ["--dim", "batch=1:64"]
    status, text, words = run("compile", f"{model}:build", *arguments, *ranges, "-o", out)
    assert status == 0, words
    assert "x: float32[batch, 3, 9, 9]" in text
    net = funtorch.export.load(out).module()
    assert net(funtorch.ones(5, 3, 9, 9), funtorch.ones(5, 1)).shape == (5, 2)
    status, text, _ = run("inspect", out)
    for words in ("dimension batch: 1 to 64", "param", "conv.weight: float32[4, 3, 3, 3]", "FLOPs"):
        assert words in text
    assert "stablehlo.convolution" in run("inspect", out, "--stablehlo", "forward")[1]
    assert "forward at batch = 8" in run("bench", out, "--runs", "2")[1]


def test_compile_with_an_executable(model, tmp_path):
    out = tmp_path / "net.ftpkg"
    inputs = ["--input", "scale=float32[batch,1]", "--input", "x=float32[batch,3,9,9]"]
    options = ["--exec", "batch=2", "--exec", "--isa", "AVX2", "--onnx", "--fixed", "batch=3"]
    status, _, said = run("compile", f"{model}:build", *inputs, *options, "-o", out)
    assert status == 0 and "an executable needs a size for batch" in said
    text = run("inspect", out)[1]
    assert "executable at batch = 2" in text and "loads here" in text and "ONNX: " in text
    assert "fixed at batch = 3" in text
    status, _, said = run("compile", f"{model}:build", *inputs, "--exec", "batch", "-o", out)
    assert status == 1 and "expected NAME=SIZE" in said


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("nothing", ["x=float32[1]"], "nothing"),
        ("build", ["x=float33[1]"], "float33"),
        ("build", ["x;float32"], "expected NAME"),
        ("build", ["y=float32[1]"], "forward"),
    ],
)
def test_wrong_arguments(model, tmp_path, name, inputs, words):
    given = [part for text in inputs for part in ("--input", text)]
    status, _, said = run("compile", f"{model}:{name}", *given, "-o", tmp_path / "x")
    assert status == 1 and words in said and "Traceback" not in said
    assert not (tmp_path / "x").exists()


def test_inspect_of_something_else(tmp_path, capsys):
    (tmp_path / "x").write_bytes(b"hello")
    assert cli.main(["inspect", str(tmp_path / "x")]) == 1
    assert "no artifact" in capsys.readouterr().err
