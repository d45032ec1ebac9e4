"""Executables on disk, so that the next start of a program compiles nothing again.

The cache is JAX's own; here it is only switched on, with a folder and a size. FUNTORCH_CACHE names
another folder, FUNTORCH_CACHE=0 switches it off, and a folder that the user gave to JAX is kept.
JAX passes over an entry that it cannot read, with a warning.

JAX could keep the folder below a size itself, but it then reads the whole folder, under a lock that all
processes share, whenever it writes an entry: with 9,000 entries a compilation of 0.1 s took 3 s. So
the folder is trimmed here, once a day by whichever process comes first.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

MAX_BYTES = 2 * 2**30
TRIM_EVERY = 24 * 3600.0  # seconds
# Entries below this are quicker compiled than read.
MIN_SECONDS = 0.05


class _State:
    done = False


def folder() -> Path | None:
    """Where executables are kept; None if nowhere."""
    named = os.environ.get("FUNTORCH_CACHE")
    if named == "0":
        return None
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "funtorch" / "xla"


def switch_on() -> None:
    """Switch the cache on, once, before the first compilation."""
    if _State.done:
        return
    _State.done = True
    where = folder()
    if where is None or jax.config.values.get("jax_compilation_cache_dir") is not None:
        return
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # no home to write to: every start compiles, nothing else changes
    jax.config.update("jax_compilation_cache_dir", str(where))
    jax.config.update("jax_compilation_cache_max_size", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)
    # JAX decides once, at its first compilation, whether there is a cache: decide again.
    compilation_cache.reset_cache()
    if _is_due(where / ".trimmed"):
        threading.Thread(target=trim, args=(where, MAX_BYTES), daemon=True).start()


def _is_due(marker: Path) -> bool:
    """Has nobody trimmed for a while? Whoever asks first is to do it."""
    try:
        if time.time() - marker.stat().st_mtime < TRIM_EVERY:
            return False
    except OSError:
        pass  # never trimmed
    with contextlib.suppress(OSError):
        marker.touch()
    return True


def trim(where: Path, limit: int) -> None:
    """Delete the entries that were not used for longest, until the rest takes `limit` bytes."""
    found = []
    with contextlib.suppress(OSError), os.scandir(where) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process may delete it meanwhile
                status = entry.stat()
                found.append((max(status.st_atime, status.st_mtime), status.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            break
        with contextlib.suppress(OSError):
            Path(path).unlink()
        total -= size
