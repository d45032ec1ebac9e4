"""A training step as one ONNX graph: the same losses in onnxruntime as here, step by step."""

import json

import numpy as np
import onnx
import pytest

import funtorch as torch

nn = torch.nn
onnxruntime = pytest.importorskip("onnxruntime")


class Conv(nn.Module):
    """Convolution, normalisation with running statistics, and pooling."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn(self.conv(x))), 2)
        return self.head(x.flatten(1))


class Words(nn.Module):
    """Embedding, normalisation and a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.norm, self.walk, self.head = nn.LayerNorm(8), nn.GRU(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.norm(self.embed(x))
        return self.head(self.walk(x.transpose(0, 1))[1][0])


CASES = {
    "mlp-adamw": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)),
        lambda p: torch.optim.AdamW(p, lr=0.01),
        (4,),
    ),
    "conv-momentum": (Conv, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), (2, 8, 8)),
    "words-adam": (Words, lambda p: torch.optim.Adam(p, lr=0.01), (5,)),
}


def prepared(name):
    make, optimise, shape = CASES[name]
    torch.manual_seed(0)
    model = make()
    optimizer = optimise(model.parameters())

    def step(x, target):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss

    def batch(i, n=4):
        rng = np.random.default_rng(i)
        words = rng.integers(0, 9, (n, *shape))
        x = words if name.startswith("words") else rng.normal(size=(n, *shape)).astype("float32")
        return torch.from_numpy(x), torch.from_numpy(rng.integers(0, 3, n))

    step(*batch(0))  # so that the optimiser has its state
    return model, optimizer, step, batch


@pytest.mark.parametrize("name", CASES)
def test_a_hundred_steps(name):
    model, optimizer, step, batch = prepared(name)
    program = torch.onnx.export_training_step(step, batch(0), model=model, optimizer=optimizer)
    for i in range(1, 101):
        rate = 0.02 / i**0.5
        for group in optimizer.param_groups:
            group["lr"] = rate
        assert program(*batch(i), lr=rate)[0].item() == pytest.approx(
            step(*batch(i)).item(), rel=1e-4
        )


def test_any_batch_from_a_file(tmp_path):
    model, optimizer, step, batch = prepared("conv-momentum")
    path = tmp_path / "step.onnx"
    torch.onnx.export_training_step(
        step, batch(0), path, model=model, optimizer=optimizer,
        dynamic_shapes=({0: "batch"}, {0: "batch"}), output_names=["loss"],
    )  # fmt: skip
    names = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["funtorch.state"])
    assert "bn.running_mean" in names and "optimizer.conv.weight.momentum_buffer" in names
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    state = {}  # the file brings the initial one
    for i in range(1, 6):
        x, target = batch(i, 3 + i)
        feeds = {"x": x.numpy(), "target": target.numpy(), "lr": np.array(0.05, "float32"), **state}
        loss, *new = session.run(["loss", *names.values()], feeds)
        state = dict(zip(names, new))
        assert loss == pytest.approx(step(x, target).item(), rel=1e-4)
    for key, tensor in model.state_dict().items():
        if key in state:
            np.testing.assert_allclose(state[key], tensor.detach().numpy(), atol=1e-4)


def test_dropout_draws_anew():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.randn(8, 4)
    program = torch.onnx.export_training_step(step, (x,), model=model, optimizer=optimizer)
    assert program.random
    assert len({program(x)[0].item() for _ in range(3)}) == 3
