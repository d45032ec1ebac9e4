"""More than 2 GB of weights as ONNX: `python -m benchmarks.onnx_large` says what memory that takes.

Counted is the memory of the process beyond what it had before the weights were made, relative to the weights:
they themselves are one. `checked` as an argument: with the check in onnxruntime, whose copy counts too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import onnx

import funtorch as torch
from funtorch import nn

WIDTH, LAYERS = 8192, 9


class Layer(nn.Module):
    """A product with a weight that was made without drawing numbers. [N, WIDTH] -> [N, WIDTH]"""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((WIDTH, WIDTH), 1 / WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product."""
        return x @ self.weight


def resident(which: str = "VmRSS") -> int:
    """Bytes of memory that the process has, or had at most ("VmHWM") since `forget_peak`. Linux."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(which))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Count the most memory from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """One export."""
    checked = "checked" in sys.argv[1:]
    small = nn.Linear(4, 4).eval()
    torch.onnx.export(small, (torch.ones(1, 4),))  # imports are not counted
    before = resident()
    model = nn.Sequential(*(Layer() for _ in range(LAYERS))).eval()
    weights = 4 * WIDTH * WIDTH * LAYERS
    model[0].weight.sum().item()
    held = resident()
    forget_peak()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        x = torch.ones(1, WIDTH)
        torch.onnx.export(model, (x,), path, dynamic_shapes=({0: "batch"},), verify=checked)
        seconds = time.perf_counter() - begun
        most = resident("VmHWM")
        onnx.checker.check_model(str(path))
        size = (Path(folder) / "net.onnx.data").stat().st_size
    print(
        f"{size / 1e9:.2f} GB of weights: {(held - before) / weights:.2f} times that in memory before, "
        f"{(most - before) / weights:.2f} at most while exporting, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
