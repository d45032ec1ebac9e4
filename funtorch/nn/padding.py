"""Padding layers, pixel shuffles and distances: one call of an op each."""

from __future__ import annotations

from typing import Any

from funtorch.nn import functional as F
from funtorch.nn.module import Module

__all__ = [
    "ChannelShuffle",
    "CosineSimilarity",
    "PairwiseDistance",
    "PixelShuffle",
    "PixelUnshuffle",
]


class _Pad(Module):
    """Pads the last `dims` dimensions by (before, after) pairs, last dimension first."""

    dims = 1
    mode = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        whole = (padding,) * (2 * self.dims) if isinstance(padding, int) else tuple(padding)
        self.padding = whole

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPad(_Pad):
    def forward(self, input: Any) -> Any:
        n = self.dims
        if input.dim() not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input.dim()}D input)")
        return super().forward(input)


_FAMILIES = {
    "Constant": (_ConstantPad, "constant"),
    "Zero": (_ZeroPad, "constant"),
    "Reflection": (_Pad, "reflect"),
    "Replication": (_Pad, "replicate"),
    "Circular": (_CircularPad, "circular"),
}

for _family, (_base, _mode) in _FAMILIES.items():
    for _dims in (1, 2, 3):
        _name = f"{_family}Pad{_dims}d"
        globals()[_name] = type(
            _name,
            (_base,),
            {
                "dims": _dims,
                "mode": _mode,
                "__module__": __name__,
                "__doc__": f"{_mode} padding of the last {_dims} dimension(s).",
            },
        )
        __all__.append(_name)


class PixelShuffle(Module):
    """[..., C r r, H, W] -> [..., C, H r, W r]"""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """[..., C, H r, W r] -> [..., C r r, H, W]"""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels of the groups interleaved. [N, C, ...] -> [N, C, ...]"""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Any) -> Any:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class CosineSimilarity(Module):
    """Cosine of the angle between x1 and x2 along dim."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """p-norm of x1 - x2 over the last dimension."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
