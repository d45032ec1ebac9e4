"""torch.onnx.operators: shapes as tensors, for programs that mean to be exported."""

from __future__ import annotations

from funtorch.ops.from_data import as_tensor
from funtorch.tensor import Tensor


def shape_as_tensor(x: Tensor) -> Tensor:
    """The extents: [...] -> int64 [ndim]"""
    return as_tensor(list(x.shape))


def reshape_from_tensor_shape(x: Tensor, shape: Tensor) -> Tensor:
    """`x` with the extents that a tensor [n] holds; waits for them."""
    return x.reshape(shape.tolist())
