"""The few names of PyTorch's compiled half that programs use."""  # noqa: N999

from funtorch.overrides import (
    DisableTorchFunction,
    DisableTorchFunctionSubclass,
)
from funtorch.overrides import (
    no_override as _disabled_torch_function_impl,
)

__all__ = [
    "DisableTorchFunction",
    "DisableTorchFunctionSubclass",
    "_disabled_torch_function_impl",
]
