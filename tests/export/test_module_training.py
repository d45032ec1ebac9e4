"""A hundred training steps of every module of torch.nn, out of a file: in Python and from C++.

The modules of a group are trained at once, on the sum of the mean squares of their results.
"""

import io
import subprocess

import numpy as np
import pytest

import funtorch as torch
from funtorch.export import export_step, load_step
from tests.export.test_modules import BATCH, GROUPS, arguments, many
from tests.lowering.cpp import PLUGIN, ROOT, built, needs_cpp

real = pytest.importorskip("torch", reason="real PyTorch is the oracle")
STEPS = 100


def leaves(result):
    if isinstance(result, dict):
        return [leaf for part in result.values() for leaf in leaves(part)]
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in leaves(part)]
    return [result] if result.dtype.is_floating_point else []


def trainer(lib, group, weights=None):
    """(step, model, optimizer). Layers that normalise train, those that draw numbers do not."""
    model = many(lib.nn, group).eval()
    if weights is not None:
        model.load_state_dict(weights)
    for module in model.modules():
        name = type(module).__name__
        module.train(("BatchNorm" in name or "InstanceNorm" in name) and "Sync" not in name)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.003)

    def step(*args):
        loss = sum(leaf.nan_to_num().square().mean() for leaf in leaves(model(*args)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, model, optimizer


TRAINABLE = [g for g in GROUPS if any(True for _ in many(real.nn, g).parameters())]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return built(ROOT / "tests" / "lowering" / "run.cpp", tmp_path_factory.mktemp("cpp") / "run")


@pytest.mark.parametrize("group", TRAINABLE)
def test_a_hundred_steps(group, request, tmp_path):
    given = arguments(group, BATCH)
    real.manual_seed(0)
    theirs, model, _ = trainer(real, group)
    weights = {k: torch.from_numpy(v.numpy().copy()) for k, v in model.state_dict().items()}
    wanted = [theirs(*map(real.from_numpy, given)).item() for _ in range(STEPS)]
    ours, model, optimizer = trainer(torch, group, weights)
    args = tuple(map(torch.from_numpy, given))
    path = tmp_path / "step.ftpkg"
    export_step(ours, args, model=model, optimizer=optimizer).save(path)
    loaded = load_step(io.BytesIO(path.read_bytes()))
    found = [loaded(*args).item() for _ in range(STEPS)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert wanted[-1] < wanted[0]
    if needs_cpp.args[0]:
        return
    command = [request.getfixturevalue("runner"), path, PLUGIN, "train", str(STEPS)]
    data = b"".join(map(np.ndarray.tobytes, given))
    printed = subprocess.run(command, input=data, capture_output=True)
    assert printed.returncode == 0, printed.stderr.decode()
    np.testing.assert_allclose(np.frombuffer(printed.stdout, "f4"), wanted, rtol=1e-4)
