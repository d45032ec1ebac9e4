"""Executables as bytes: the native code of one program, for one runtime and one kind of processor.

Native code is trusted as much as a shared library. Before any of it is loaded, `unfit` compares what
it was made for with this process: the compiler's version, the platform, and every instruction set
that the code may use (code with AVX-512 ends an older processor's process with SIGILL).
"""

from __future__ import annotations

import os
import platform as machine_platform
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jaxlib
from funtorch.lowering.x64 import x64
from funtorch.lowering.xla import compile_lowered
from jax.extend import backend

Target = dict[str, Any]

# How LLVM writes the target's features into an executable: "+avx,+avx2,-avx512f,...".
_FEATURES = re.compile(rb"(?:[+-][a-z0-9_.\-]{2,24},){8,}[+-][a-z0-9_.\-]+")
_ARITHMETIC = re.compile(
    r"adx|aes|amx|avx|bmi|f16c|fma|gfni|lzcnt|movbe|pclmul|popcnt|sha|sse|ssse|tbm|vaes|vpclmul|xop"
)
# What Linux calls a feature of LLVM's, where it is not the same word.
_LINUX = {"bmi": "bmi1", "lzcnt": "abm", "sse3": "pni", "sha": "shani", "pclmul": "pclmulqdq"}
_OWN_CALLS = re.compile(r"__|TopK$")
_CALLS = re.compile(r'custom_call_target="([^"]*)"')


class NoExecutableError(RuntimeError):
    """A program whose executable cannot be stored."""


def compiled(function: Any, structs: Sequence[jax.ShapeDtypeStruct]) -> bytes:
    """The function's executable at these static shapes, for this process's device.

    Raises NoExecutableError for code that calls into Python or into libraries beside XLA.
    """
    with x64():
        made = compile_lowered(jax.jit(function, keep_unused=True).lower(*structs))
    executable: Any = made.runtime_executable()
    calls = {c for m in executable.hlo_modules() for c in _CALLS.findall(m.to_string())}
    foreign = sorted(c for c in calls if not _OWN_CALLS.match(c))
    if foreign:
        raise NoExecutableError(f"it calls {', '.join(foreign)}, which is not part of it")
    try:
        return bytes(executable.serialize())
    except jax.errors.JaxRuntimeError as error:
        raise NoExecutableError(str(error).split("\n", 1)[0]) from error


def target_of(data: bytes) -> Target:
    """What an executable that was compiled just now needs, as JSON."""
    return {**_here(), "features": sorted(_needed(data))}


def unfit(target: Target) -> str | None:
    """Why an executable made for `target` cannot be loaded here; None if it can."""
    if os.environ.get("FUNTORCH_EXEC") == "0":
        return "FUNTORCH_EXEC=0"
    here = _here()
    for key in ("platform", "arch", "device", "runtime"):
        if target.get(key) != here[key]:
            return f"made for the {key} {target.get(key)}; this is {here[key]}"
    lacking = sorted(set(target.get("features", ["unknown"])) - processor_features())
    if lacking:
        return f"made for a processor with {', '.join(lacking)}"
    return None


class Native:
    """A loaded executable. Call it with the program's arrays; it returns its outputs."""

    def __init__(self, data: bytes) -> None:
        device = jax.devices()[0]
        client = backend.get_backend()
        self._executable = client.deserialize_executable(data, executable_devices=[device])

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """Run on the arrays (all of them, in the program's order)."""
        found = self._executable.execute_sharded(list(arrays))
        return [shards[0] for shards in found.disassemble_into_single_device_arrays()]


def _here() -> Target:
    client = backend.get_backend()
    device = jax.devices()[0]
    cpu = device.platform == "cpu"
    runtime = f"jaxlib {jaxlib.__version__}"  # type: ignore[attr-defined]
    return {
        "platform": "cpu" if cpu else client.platform,
        "arch": machine_platform.machine(),
        "device": "cpu" if cpu else device.device_kind,
        "runtime": runtime if cpu else f"{runtime}, {client.platform_version}",
    }


@cache
def processor_features() -> frozenset[str]:
    """Instruction sets of this processor as Linux names them, without punctuation."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()  # nothing is known, so nothing but an executable without needs fits
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(map(_plain, found[1].split())) if found else frozenset()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _needed(data: bytes) -> set[str]:
    """Features that the code of an executable may use."""
    if jax.devices()[0].platform != "cpu":
        return set()
    own = set(processor_features())
    texts = _FEATURES.findall(data)
    if not texts or machine_platform.machine() != "x86_64":
        return own
    words = {w[1:].decode() for text in texts for w in text.split(b",") if w.startswith(b"+")}
    names = {_plain(_LINUX.get(word, word)) for word in words if _ARITHMETIC.match(word)}
    return names & own
