"""Every op, declared once, one file per family. Importing this fills the table."""

import importlib
import pkgutil
from typing import NoReturn

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_module.name}")


def load_library(path: str) -> NoReturn:
    """Raises OSError: a library's ops are kernels on PyTorch's own tensors."""
    raise OSError(
        f"Could not load this library: {path}. It is compiled for PyTorch's tensors; "
        "write the op in Python with torch.library.custom_op"
    )
