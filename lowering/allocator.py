"""Keep freed memory: glibc gives large blocks back to the system after every run of a program.

XLA:CPU allocates its temporaries anew for each run, so each run pays page faults for all of them. A
convolution of 64 channels took 24 ms with glibc's defaults and 11 ms with these thresholds.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_THRESHOLD = 1 << 30  # bytes; glibc takes an int


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds; True if that was possible. FUNTORCH_MALLOC=0 leaves them alone."""
    if not sys.platform.startswith("linux") or os.environ.get("FUNTORCH_MALLOC") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return bool(mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)) and bool(
        mallopt(_M_TRIM_THRESHOLD, _THRESHOLD)
    )
