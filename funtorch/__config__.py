"""torch.__config__: how this was built. There is nothing compiled but JAX's XLA."""

from __future__ import annotations

import jax
import jaxlib

from funtorch.toplevel import get_num_threads
from funtorch.version import __version__


def show() -> str:
    """What this is made of, in lines of text."""
    parts = f"funtorch {__version__}, jax {jax.__version__}, jaxlib {jaxlib.__version__}"
    return f"PyTorch built with:\n  - {parts}\n"


def parallel_info() -> str:
    """How many threads there are, in lines of text."""
    return f"XLA on the CPU\n  threads: {get_num_threads()}\n"
