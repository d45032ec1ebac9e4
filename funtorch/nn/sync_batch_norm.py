"""Batch normalisation over the batches of all processes."""

from __future__ import annotations

from typing import Any

from funtorch.distributed.groups import get_world_size, is_initialized
from funtorch.distributed.nn.functional import all_gather
from funtorch.grad_mode import no_grad
from funtorch.nn.module import Module
from funtorch.nn.norm import _BatchNorm
from funtorch.ops.from_data import tensor
from funtorch.ops.joining import cat, stack
from funtorch.tensor import Tensor

__all__ = ["SyncBatchNorm"]


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation whose statistics, in training, are those of all processes' batches together.

    Members exchange means, variances and counts (three numbers per channel), and in backward their
    gradients. PyTorch has it for GPUs only.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2D input (got {input.ndim}D input)")

    def forward(self, input: Tensor) -> Tensor:
        """[n, channels, ...] -> [n, channels, ...]"""
        group = self.process_group
        if not (self.training and is_initialized() and get_world_size(group) > 1):
            return super().forward(input)
        self._check_input_dim(input)
        mean, variance, count = _over_all(input, group)
        if self.track_running_stats:
            self._keep(mean, variance, count)
        shape = [-1 if d == 1 else 1 for d in range(input.ndim)]
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        made = (input - mean.reshape(shape)) * scale.reshape(shape)
        return made if self.bias is None else made + self.bias.reshape(shape)

    def _keep(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Running averages, of the variance without bias."""
        with no_grad():
            self.num_batches_tracked.add_(1)
            factor: Any = self.momentum
            if factor is None:
                factor = 1.0 / self.num_batches_tracked.to(mean.dtype)
            self.running_mean.mul_(1 - factor).add_(mean * factor)
            unbiased = variance * (count / (count - 1))
            self.running_var.mul_(1 - factor).add_(unbiased * factor)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with every batch normalisation in it replaced by one of this class."""
        made = module
        if isinstance(module, _BatchNorm):
            made = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
            )
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(made, name, getattr(module, name))
            made.training = module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made


def _over_all(input: Tensor, group: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, variance, number of elements) of each channel over all members' batches.

    input: [n, channels, ...] -> [channels], [channels], []
    """
    dims = [d for d in range(input.ndim) if d != 1]
    n = tensor([input.numel() // input.shape[1]], dtype=input.dtype, device=input.device)
    own = cat([input.mean(dims), input.var(dims, unbiased=False), n])
    every = stack(all_gather(own, group))  # [world, 2 * channels + 1]
    counts = every[:, -1:]
    means, variances = every[:, :-1].chunk(2, 1)
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    variance = ((variances + (means - mean).square()) * counts).sum(0) / total
    return mean, variance, total
