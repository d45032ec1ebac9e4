"""Tensors both ways, a tf.data.Dataset in a training loop, serving through jax2tf, and the example."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import funtorch as torch
from funtorch import nn
from funtorch.dispatch import to_host

tf = pytest.importorskip("tensorflow", reason="TensorFlow is an extra: funtorch[tensorflow]")
pytest.importorskip("tf2onnx")
from funtorch.tensorflow import from_tensor, save_saved_model, to_tensor  # noqa: E402

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int8", "uint8", "bool", "complex64")


def address(array):
    return np.asarray(array).__array_interface__["data"][0]


@pytest.mark.parametrize("name", DTYPES)
def test_there_and_back(name):
    x = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(torch, name))
    made = to_tensor({"x": x, "pair": (x.t(), 3)})
    assert made["x"].dtype.name == name
    assert made["pair"][0].shape == (3, 2)
    assert made["pair"][1] == 3
    assert torch.equal(from_tensor(made["x"]), x)


def test_memory_is_shared():
    x = tf.random.normal((64, 64))
    assert address(to_host(from_tensor(x))) == address(np.from_dlpack(x))
    y = torch.arange(4096.0) + 1
    assert address(np.from_dlpack(to_tensor(y))) == address(to_host(y))


def test_graphs_have_no_elements():
    with pytest.raises(TypeError, match=r"outside of tf\.function"):
        tf.function(from_tensor)(tf.ones(3))


def test_a_dataset_feeds_training():
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((x, (x[:, 0] > 0).astype("int64"))).batch(16)
    net = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    losses = []
    for _ in range(4):
        for batch in dataset:
            samples, labels = from_tensor(batch)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(samples), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_serving_through_jax(tmp_path):
    pytest.importorskip("jax.experimental.jax2tf")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    x = torch.randn(3, 8)
    save_saved_model(model, (x,), tmp_path / "served", through="jax")
    serve = tf.saved_model.load(tmp_path / "served").signatures["serving_default"]
    x = torch.cat([x, x])
    (y,) = serve(tf.constant(x.numpy())).values()
    np.testing.assert_allclose(y, model(x).detach(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="through"):
        save_saved_model(model, (x,), tmp_path / "served", through="onnx-tf")


def test_the_example(tmp_path):
    pytest.importorskip("sklearn", reason="the example's data come with scikit-learn")
    example = Path(__file__).resolve().parents[2] / "examples" / "tensorflow_exchange.py"
    command = [sys.executable, str(example), "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = re.findall(r"(?:Keras|funtorch) ([\d.]+)%, then \w+ ([\d.]+)%", done.stdout)
    assert min(map(float, (first[1], second[1]))) > 90, done.stdout
    assert "conv2d.kernel" in done.stdout
