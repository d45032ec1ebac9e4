"""ResNet-18 (He et al., Deep residual learning, 2015), one source for funtorch and PyTorch."""

from __future__ import annotations

from typing import Any


def resnet18(lib: Any, classes: int = 1000) -> Any:
    """The module; input [N, 3, H, W]."""
    nn = lib.nn

    def norm_after(conv: Any) -> Any:
        return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))

    class Block(nn.Module):
        def __init__(self, n: int, out: int, stride: int) -> None:
            super().__init__()
            self.first = norm_after(nn.Conv2d(n, out, 3, stride, 1, bias=False))
            self.second = norm_after(nn.Conv2d(out, out, 3, 1, 1, bias=False))
            same = stride == 1 and n == out
            self.short = (
                nn.Identity() if same else norm_after(nn.Conv2d(n, out, 1, stride, bias=False))
            )

        def forward(self, x: Any) -> Any:
            return (self.second(self.first(x).relu()) + self.short(x)).relu()

    layers = [norm_after(nn.Conv2d(3, 64, 7, 2, 3, bias=False)), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for n, out, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        layers += [Block(n, out, stride), Block(out, out, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
