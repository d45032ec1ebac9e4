"""A whole training step as an artifact: equal to the eager loop, in a process without the source."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

import funtorch as torch
from funtorch.export import Dim, export_step, load_step

nn = torch.nn


def setup(make):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = make(model.parameters())

    def step(x, t):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


def batch(i, n=6):
    rng = np.random.default_rng(i)
    x = torch.from_numpy(rng.normal(size=(n, 4)).astype("float32"))
    return x, torch.from_numpy(rng.integers(0, 3, n))


OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_twenty_steps(name):
    model, optimizer, step = setup(OPTIMISERS[name])
    step(*batch(0))
    made = export_step(step, batch(0), model=model, optimizer=optimizer)
    weight = model[0].weight.detach().clone()
    file = io.BytesIO()
    made.save(file)
    again = load_step(io.BytesIO(file.getvalue()))
    for i in range(1, 21):
        rate = 0.1 / i
        for group in optimizer.param_groups:
            group["lr"] = rate
        want = step(*batch(i)).item()
        assert again(*batch(i), lr=rate).item() == pytest.approx(want, rel=1e-4)
    assert not np.array_equal(weight.numpy(), again.state["0.weight"].numpy())
    np.testing.assert_allclose(again.state["0.weight"], model[0].weight.detach(), atol=1e-5)
    model.load_state_dict(again.state_dict())
    # What was exported has a state of its own, and stands where it was.
    np.testing.assert_array_equal(made.state["0.weight"], weight)


def test_dynamic_batch_and_random_numbers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x, t):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x).sum(1), t.float())
        loss.backward()
        optimizer.step()
        return loss

    size = Dim("batch", min=1, max=100)
    made = export_step(
        step, batch(0), model=model, optimizer=optimizer, dynamic_shapes=({0: size}, {0: size})
    )
    losses = [made(*batch(1, n), lr=0.0).item() for n in (5, 5, 9)]
    assert len(set(losses)) == 3
    assert next(model.parameters()).grad is None
    with pytest.raises(RuntimeError, match="batch <= 100"):
        made(*batch(0, 101))


def test_what_cannot_be_exported_leaves_all_as_it_was():
    model, optimizer, step = setup(OPTIMISERS["adamw"])
    with pytest.raises(RuntimeError, match="run one step"):
        export_step(step, batch(0), model=model, optimizer=optimizer)
    assert not optimizer.state
    step(*batch(0))

    def reads(x, t):
        return step(x, t).item()

    with pytest.raises(RuntimeError, match="value of a tensor"):
        export_step(reads, batch(0), model=model, optimizer=optimizer)

    def decays(x, t):
        loss = step(x, t)
        optimizer.param_groups[0]["lr"] *= 0.9
        return loss

    with pytest.raises(RuntimeError, match="scheduler"):
        export_step(decays, batch(0), model=model, optimizer=optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.01
    step(*batch(0))


def test_a_process_without_the_source_goes_on(tmp_path):
    model, optimizer, step = setup(OPTIMISERS["adamw"])
    step(*batch(0))
    export_step(step, batch(0), model=model, optimizer=optimizer).save(tmp_path / "train.ftpkg")
    data = {f"{k}{i}": t.numpy() for i in range(5) for k, t in zip("xt", batch(i), strict=True)}
    np.savez(tmp_path / "data.npz", **data)
    code = (
        "import numpy as np, funtorch as torch\n"
        "from funtorch.export import load_step\n"
        "step = load_step('train.ftpkg')\n"
        "data = np.load('data.npz')\n"
        "for i in range(5):\n"
        "    x, t = (torch.from_numpy(data[k + str(i)]) for k in 'xt')\n"
        "    print(step(x, t).item())\n"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    want = [step(*batch(i)).item() for i in range(5)]
    np.testing.assert_allclose([float(w) for w in found.stdout.split()], want, rtol=1e-5)
