"""DLPack and TensorBoard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


@pytest.mark.parametrize("name", ["float32", "float64", "int64", "uint8", "bfloat16", "complex64"])
def test_dlpack_both_ways(name: str) -> None:
    theirs = torch.tensor([[1, 2], [3, 4]]).to(getattr(torch, name))
    ours = funtorch.from_dlpack(theirs)
    assert repr(ours) == repr(theirs)
    assert repr(torch.from_dlpack(ours)) == repr(theirs)


def test_dlpack_of_turned_arrays_and_capsules() -> None:
    turned = np.arange(6.0).reshape(2, 3).T
    assert funtorch.from_dlpack(turned).tolist() == turned.tolist()
    x = funtorch.arange(4)
    assert funtorch.utils.dlpack.from_dlpack(funtorch.utils.dlpack.to_dlpack(x)).tolist() == [
        0,
        1,
        2,
        3,
    ]
    ours = funtorch.from_dlpack(torch.ones(2))
    ours.add_(1)
    assert ours.tolist() == [2.0, 2.0]


def test_tensorboard_takes_tensors(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="writes the event files")
    from funtorch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss", funtorch.tensor(1.5), 0)
        writer.add_scalars("both", {"a": funtorch.tensor(1.0), "b": 2.0}, 0)
        writer.add_histogram("w", funtorch.randn(10), 0)
    (events,) = [path for path in tmp_path.rglob("*tfevents*") if path.parent == tmp_path]
    assert events.stat().st_size > 100
