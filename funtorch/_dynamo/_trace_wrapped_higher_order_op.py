"""The mode in which masks of attention are computed under `vmap`, where PyTorch's programs seek it."""

from __future__ import annotations

from typing import Any

from funtorch.dtypes import int64
from funtorch.ops.from_data import as_tensor
from funtorch.ops.indexing import _index
from funtorch.overrides import TorchFunctionMode
from funtorch.tensor import Tensor

__all__ = ["TransformGetItemToIndex"]


class TransformGetItemToIndex(TorchFunctionMode):
    """Within it `x[i]` with numbers and tensors gathers: no view, no value read on the host."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Numbers among the indices of `x[...]` become tensors."""
        if func is Tensor.__getitem__:
            x, key = args
            keys = key if isinstance(key, tuple) else (key,)
            if all(isinstance(k, int | Tensor) and not isinstance(k, bool) for k in keys):
                made = [as_tensor(k, dtype=int64) if isinstance(k, int) else k for k in keys]
                return _index(x, made)
        return func(*args, **(kwargs or {}))
