"""Executables on disk, so that the next start of a program compiles nothing again.

The cache is JAX's own; here it is only switched on, with a folder and a size. FUNTORCH_CACHE names
another folder, FUNTORCH_CACHE=0 switches it off, and a folder that the user gave to JAX is kept.
JAX drops an entry that it cannot read, with a warning.
"""

from __future__ import annotations

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

MAX_BYTES = 2 * 2**30
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
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)
    # JAX decides once, at its first compilation, whether there is a cache: decide again.
    compilation_cache.reset_cache()
