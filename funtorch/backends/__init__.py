"""torch.backends: what programs ask about libraries below. Below funtorch there is only XLA."""

from funtorch.backends import cuda, cudnn, mha, mkldnn, mps, openmp

__all__ = ["cuda", "cudnn", "mha", "mkldnn", "mps", "openmp"]
