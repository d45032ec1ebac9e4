"""Keep freed memory: glibc gives large blocks back to the system after every run of a program.

XLA:CPU allocates its temporaries anew for each run, so each run pays page faults for all of them. A
convolution of 64 channels took 24 ms with glibc's defaults and 11 ms with these thresholds.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_THRESHOLD = 1 << 30  # bytes; glibc takes an int


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds; True if that was possible. FUNTORCH_MALLOC=0 leaves them alone."""
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)) and bool(
        mallopt(_M_TRIM_THRESHOLD, _THRESHOLD)
    )


def give_back() -> None:
    """Return to the system what is free now: after compiling, hundreds of MiB that runs do not need.

    A ResNet-18 held 676 MiB once its step was compiled, and 260 MiB after this, which takes 35 ms.
    """
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it is glibc and may be told what to do."""
    if not sys.platform.startswith("linux") or os.environ.get("FUNTORCH_MALLOC") == "0":
        return None
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None  # another C library
    return found
