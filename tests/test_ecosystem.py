"""Packages that are written for PyTorch, unmodified, where they are installed (they need not be)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

PROGRAMS = {
    "timm": """
import timm.optim
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
optimizer = timm.optim.create_optimizer_v2(model, opt="lamb", lr=1e-2, foreach=True)
for _ in range(3):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(torch.ones(2, 6)), torch.tensor([0, 2]))
    loss.backward()
    optimizer.step()
    found.append(loss.item())
""",
    "lightning": """
import lightning
class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def training_step(self, batch, index):
        loss = self.layer(batch[0]).square().mean()
        found.append(loss.item())
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
lightning.seed_everything(1, verbose=False)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 4)), 4, shuffle=True)
quiet = dict(logger=False, enable_progress_bar=False, enable_checkpointing=False)
lightning.Trainer(max_epochs=2, accelerator="cpu", **quiet).fit(Net(), data)
""",
    "torch_geometric": """
from torch_geometric.nn import GCNConv
torch.manual_seed(0)
made = GCNConv(3, 2)(torch.randn(4, 3), torch.tensor([[0, 1, 2], [1, 2, 3]]))
made.square().sum().backward()
found.extend(made.flatten().tolist())
""",
}
STARTS = {
    "funtorch": "from funtorch.compat import torch_alias; torch_alias.install()\nimport torch",
    "torch": "import torch",
}


def _numbers(library: str, body: str) -> list[float]:
    """What a program found, in a process where `import torch` means this library."""
    text = f"{STARTS[library]}\nimport json\nfound = []\n{body}\nprint(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    if library == "torch" and done.returncode:
        pytest.skip(f"real PyTorch cannot run it: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    numbers: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return numbers


@pytest.mark.parametrize("package", PROGRAMS)
def test_same_numbers(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if importlib.util.find_spec("torch") is None:
        pytest.skip("real PyTorch is the oracle")
    theirs = _numbers("torch", PROGRAMS[package])
    assert _numbers("funtorch", PROGRAMS[package]) == pytest.approx(theirs, rel=1e-4, abs=1e-6)
