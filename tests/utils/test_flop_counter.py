"""FlopCounterMode against PyTorch's, forward and backward."""

from __future__ import annotations

import importlib

import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def _counts(lib, backward: bool) -> dict[str, int]:
    class Net(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            nn = lib.nn
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1),
            )
            self.head = nn.Linear(4 * 64, 5)

        def forward(self, x):
            made = self.head(self.body(x).flatten(1))
            return (made @ made.T).sum()

    net, x = Net(), lib.ones(2, 3, 8, 8)
    with importlib.import_module(f"{lib.__name__}.utils.flop_counter").FlopCounterMode(
        display=False
    ) as counter:
        loss = net(x)
        if backward:
            loss.backward()
    total = counter.get_total_flops()
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    assert counts["Global"] == total
    # What PyTorch attributes to the outermost module of a backward pass depends on its hooks.
    return {name: n for name, n in counts.items() if not backward or name != "Net"}


@pytest.mark.parametrize("backward", [False, True])
def test_as_in_pytorch(backward: bool) -> None:
    assert _counts(funtorch, backward) == _counts(torch, backward)


def test_table(capsys) -> None:
    with funtorch.utils.flop_counter.FlopCounterMode() as counter:
        funtorch.ones(4, 3) @ funtorch.ones(3, 2)
    assert counter.get_total_flops() == 48
    assert "100.00%" in capsys.readouterr().out
