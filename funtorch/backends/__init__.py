"""torch.backends: what programs ask about libraries below. Below funtorch there is only XLA."""

from funtorch.backends import cpu, cuda, cudnn, mha, mkldnn, mps, openmp

__all__ = ["cpu", "cuda", "cudnn", "mha", "mkldnn", "mps", "openmp"]
