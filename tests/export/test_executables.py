"""Executables in artifacts: used where they fit, ignored with a reason where they do not."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from funtorch.lowering import native

import funtorch as torch
from funtorch.export import Dim, add_executables, export_step, load_step

nn = torch.nn


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    batch = ({0: Dim("batch", max=16)},)
    path = tmp_path / "net.ftpkg"
    torch.export.save(torch.export.export(net, (torch.ones(2, 4),), dynamic_shapes=batch), path)
    return path


def loaded_executables(program):
    return len(program._loaded)


def test_used_where_it_fits(file):
    assert "batch" in add_executables(file)["forward"]
    for batch in (2, 5, 2):
        assert not add_executables(file, {"batch": batch})
    with zipfile.ZipFile(file) as made:
        assert [n for n in made.namelist() if "exec" in n] == ["exec/forward.0", "exec/forward.1"]
    program = torch.export.load(file)
    plain = torch.export.load(file).module()
    net = program.module()
    for batch, used in ((2, 1), (3, 1), (5, 2)):
        x = torch.randn(batch, 4)
        with torch.no_grad():
            got = net(x * 2)  # its input is pending
        np.testing.assert_allclose(got, plain(x * 2).detach(), atol=1e-6)
        assert loaded_executables(program.program) == used
    net(x).sum().backward()  # with a gradient the program is recorded as before
    assert net.get_parameter("0.weight").grad is not None
    inside = torch.func.grad(lambda x: net(x).sum())(torch.ones(2, 4))  # and inside transforms
    assert inside.shape == (2, 4)


def retargeted(path, **changes):
    with zipfile.ZipFile(path) as made:
        records = {n: made.read(n) for n in made.namelist()}
    manifest = json.loads(records["manifest.json"])
    manifest["programs"]["forward"]["exec"][0]["target"].update(changes)
    records["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as made:
        for name, data in records.items():
            made.writestr(name, data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime": "jaxlib 0.1"}, "made for the runtime jaxlib 0.1"),
        ({"platform": "tpu"}, "made for the platform tpu"),
        ({"arch": "riscv64"}, "made for the arch riscv64"),
        ({"features": ["avx2048"]}, "made for a processor with avx2048"),
    ],
)
def test_ignored_with_a_reason(file, changes, words):
    add_executables(file, {"batch": 2})
    retargeted(file, **changes)
    program = torch.export.load(file)
    with torch.no_grad():
        assert program.module()(torch.ones(2, 4)).shape == (2, 3)
    assert words in program.program.ignored[0]
    assert loaded_executables(program.program) == 0


def test_switched_off_and_unloadable(file, monkeypatch):
    add_executables(file, {"batch": 2})
    x = torch.ones(2, 4)
    with monkeypatch.context() as patched:
        patched.setenv("FUNTORCH_EXEC", "0")
        assert torch.export.load(file).program.ignored == ["FUNTORCH_EXEC=0"]
    program = torch.export.load(file)
    codes = program.program._codes
    codes.update(dict.fromkeys(codes, b"no code"))
    with torch.no_grad():
        assert program.module()(x).shape == (2, 3)
    assert len(program.program.ignored) == 1


class Decomposes(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


def test_a_program_that_cannot_have_one(tmp_path):
    path = tmp_path / "net.ftpkg"
    torch.export.save(torch.export.export(Decomposes(), (torch.ones(3, 3),)), path)
    assert "lapack" in add_executables(path)["forward"]
    assert torch.export.load(path).module()(torch.eye(3)).tolist() == [1, 1, 1]


def test_a_training_step(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.randn(6, 4)
    step(x)
    path = tmp_path / "train.ftpkg"
    export_step(step, (x,), model=model, optimizer=optimizer).save(path)
    losses = []
    for _ in range(2):
        torch.manual_seed(1)
        made = load_step(path)
        losses.append([made(x, lr=0.02).item() for _ in range(5)])
        add_executables(path)
    assert made.program.ignored == [] and losses[1][-1] < losses[1][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_instruction_sets_are_limited(tmp_path):
    code = (
        "import sys, jax, funtorch\n"
        "from funtorch.lowering import native\n"
        "data = native.compiled(lambda x: [x @ x], [jax.ShapeDtypeStruct((64, 64), 'float32')])\n"
        "print(*native.target_of(data)['features'])\n"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )
    features = set(found.stdout.split())
    assert not any(f.startswith("avx512") for f in features)
    assert features <= native.processor_features()
