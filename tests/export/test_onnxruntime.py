"""torch.compile(backend="onnxruntime"): inference equal to funtorch's own, and nothing else."""

import sys

import numpy as np
import pytest

import funtorch as torch

nn = torch.nn
pytest.importorskip("onnxruntime")


class Pair(nn.Module):
    """Nested results, an argument that is no tensor, and a buffer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("shift", torch.arange(3.0))

    def forward(self, x, scale=1.0, *, other=None):
        y = self.fc(x) * scale + self.shift
        return {"sum": y if other is None else y + other, "both": (y.relu(), x)}


MODELS = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        ),
        (3, 8, 8),
    ),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_equal_at_several_shapes(name):
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    fast = torch.compile(model, backend="onnxruntime")
    for batch in (2, 5, 2):
        x = torch.randn(batch, *shape)
        with torch.no_grad():
            np.testing.assert_allclose(fast(x), model(x), atol=2e-6)


def test_nested_results_and_new_weights():
    model = Pair().eval()
    fast = torch.compile(model, backend="onnxruntime")
    x, other = torch.randn(2, 4), torch.randn(2, 3)
    with torch.no_grad():
        for change in (lambda: None, lambda: model.fc.weight.add_(1), lambda: model.shift.zero_()):
            change()
            for kwargs in ({}, {"scale": 2.0}, {"other": other}):
                got, want = fast(x, **kwargs), model(x, **kwargs)
                assert got.keys() == want.keys() and isinstance(got["both"], tuple)
                np.testing.assert_allclose(got["sum"], want["sum"], atol=1e-6)
                np.testing.assert_allclose(got["both"][0], want["both"][0], atol=1e-6)
    assert fast.state_dict().keys() == {f"_orig_mod.{k}" for k in model.state_dict()}


def test_onnx_in_an_artifact(tmp_path):
    torch.manual_seed(0)
    model = MODELS["cnn"][0]().eval()
    model.append(nn.Linear(72, 400)).append(nn.Linear(400, 5))
    batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(model, (torch.ones(2, 3, 8, 8),), dynamic_shapes=batch)
    path = tmp_path / "net.ftpkg"
    torch.export.save(program, path)
    with pytest.raises(RuntimeError, match="add_onnx"), torch.no_grad():
        loaded = torch.export.load(path).module()
        torch.compile(loaded, backend="onnxruntime")(torch.ones(2, 3, 8, 8))
    torch.onnx.add_onnx(program, path)
    torch.export.add_executables(path, {"batch": 3})  # keeps it
    assert path.stat().st_size < 4 * sum(p.numel() for p in model.parameters()) + 100_000
    loaded = torch.export.load(path).module()
    fast = torch.compile(loaded, backend="onnxruntime")
    with torch.no_grad():
        for n in (2, 5):
            x = torch.randn(n, 3, 8, 8)
            np.testing.assert_allclose(fast(x), model(x), atol=2e-6)
        for net in (loaded.get_parameter("0.weight"), model[0].weight):
            net.mul_(0.5)
        np.testing.assert_allclose(fast(x), model(x), atol=2e-6)


class Draws(nn.Module):
    def forward(self, x):
        return x + torch.rand(3)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


def test_what_it_refuses(monkeypatch):
    x = torch.ones(2, 4)
    fast = torch.compile(nn.Linear(4, 3).eval(), backend="onnxruntime")
    with pytest.raises(RuntimeError, match="no_grad"):
        fast(x)
    with torch.no_grad():
        fast.train()
        with pytest.raises(RuntimeError, match="eval"):
            fast(x)
        for model, words in ((Draws(), "draws"), (Counts(), "changes calls")):
            with pytest.raises(RuntimeError, match=words):
                torch.compile(model.eval(), backend="onnxruntime")(torch.ones(3))
    with pytest.raises(TypeError, match="Module"):
        torch.compile(torch.relu, backend="onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install"):
        torch.compile(nn.Linear(4, 3), backend="onnxruntime")
