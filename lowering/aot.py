"""Ahead of time: a pure function as bytes, and back.

The bytes are jax.export's (StableHLO with a signature); they hold no paths and no Python. The second
form is bare StableHLO at an older version, for programs without Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from funtorch.lowering import portable
from funtorch.lowering.x64 import x64
from funtorch.lowering.xla import compile_lowered

PLATFORMS = ("cpu", "cuda")
VHLO_TARGET = "1.13.0"
# Custom calls that XLA itself replaces by loops.
_EXPANDED = {"Eigh", "ProductOfElementaryHouseholderReflectors", "Qr"}
_CALLS = re.compile(r"custom_call @(\w+)")
# XLA expands all Eigh of one shape alike, also one that needs no order (its second number is 0).
_EIGH = re.compile(r'(custom_call @Eigh\(.*backend_config = "\d+,)0')

Structs = Sequence[jax.ShapeDtypeStruct]
Function = Callable[..., Sequence[Any]]


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
    """Lower without the Python frames that each op came from: they would name people's folders."""
    name = "jax_traceback_in_locations_limit"
    before = jax.config.jax_traceback_in_locations_limit  # type: ignore[attr-defined]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def symbols(text: str, constraints: Sequence[str]) -> dict[str, Any]:
    """Symbolic dimensions of one scope by name. text: 'batch, time'"""
    found = jax.export.symbolic_shape(text, constraints=constraints) if text else ()
    return {str(dim): dim for dim in found}


def exported(
    function: Function,
    structs: Structs,
    platforms: Sequence[str],
    donated: Sequence[int] = (),
    rules: Sequence[tuple[Any, Any]] | None = None,
) -> Any:
    """The function at these shapes (symbolic ones too) as a jax.export.Exported.

    donated: inputs whose memory outputs may take over. rules: primitives that are lowered otherwise.
    """
    with x64(), _without_paths():
        jitted = jax.jit(function, keep_unused=True, donate_argnums=tuple(donated))
        export = jax.export.export(jitted, platforms=platforms, _override_lowering_rules=rules)
        return export(*structs)


def to_bytes(made: Any, gradient: bool = True) -> tuple[bytes, int]:
    """(bytes, how often it can be differentiated: 1, or 0 where it has no gradient)."""
    with x64(), _without_paths():
        if gradient:
            with contextlib.suppress(TypeError, ValueError, NotImplementedError):
                return bytes(made.serialize(vjp_order=1)), 1
        return bytes(made.serialize(vjp_order=0)), 0


def from_bytes(data: bytes) -> Any:
    """What `to_bytes` wrote. Nothing in it is executed or unpickled."""
    return jax.export.deserialize(bytearray(data))


def call(made: Any, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Call an exported function; differentiable, and to be used while tracing too."""
    with x64():
        return tuple(made.call(*arrays))


def vhlo(function: Function, structs: Structs, donated: Sequence[int] = ()) -> bytes | None:
    """Bare StableHLO for one platform at VHLO_TARGET. Shapes must be static.

    None where it would call into a library that only JAX brings along (LAPACK, SciPy). Most linear
    algebra has a form without: the one that JAX makes for TPUs, which XLA expands on every platform,
    and our own of LU.
    """
    from jax.extend.mlir.dialects import stablehlo  # loads MLIR's Python, needed only here

    for platform, rules in (("cpu", None), ("tpu", portable.RULES)):
        # Through jax.export, which leaves no op behind that only newer readers know.
        with contextlib.suppress(NotImplementedError, ValueError):
            made = exported(function, structs, (platform,), donated, rules)
            shown = text(made)
            if set(_CALLS.findall(shown)) <= _EXPANDED:
                whole = stablehlo.deserialize_portable_artifact_str(made.mlir_module_serialized)
                ordered = _EIGH.sub(r"\g<1>1", shown)
                program = whole if ordered == shown else ordered
                return bytes(stablehlo.serialize_portable_artifact_str(program, VHLO_TARGET))
    return None


def from_stablehlo(text: str, ins: Structs, outs: Structs) -> Any:
    """A jax.export.Exported of StableHLO that something else wrote, for this process's platform.

    Its function `main` takes and returns arrays of these static shapes. Raises ValueError for text
    that cannot be read.
    """
    from jax.extend.mlir.dialects import stablehlo

    platform = jax.default_backend()
    # The signature of a function with the same inputs and outputs, around this program.
    same = exported(
        lambda *arrays: [jax.numpy.zeros(s.shape, s.dtype) for s in outs],
        ins,
        ({"gpu": "cuda"}.get(platform, platform),),
    )
    program = stablehlo.serialize_portable_artifact_str(text, VHLO_TARGET)
    return dataclasses.replace(same, mlir_module_serialized=program, _get_vjp=None)


def text(made: Any) -> str:
    """StableHLO of an exported function, to read."""
    return str(made.mlir_module())


def flops(made: Any, structs: Structs) -> float | None:
    """Floating-point operations of one call at these shapes, as XLA counts them for this machine."""
    with x64():
        found = jax.jit(made.call).lower(*structs).compile().cost_analysis()
    return None if not found else float(found.get("flops", 0.0))


def timed(made: Any, structs: Structs, runs: int) -> tuple[float, float]:
    """(seconds to compile, median seconds of a call) on inputs of zeros."""
    with x64():
        inputs = [jax.numpy.zeros(s.shape, s.dtype) for s in structs]
        start = time.perf_counter()
        compiled = compile_lowered(jax.jit(made.call).lower(*inputs))
        first = time.perf_counter() - start
        took = []
        for _ in range(runs):
            start = time.perf_counter()
            jax.block_until_ready(compiled(*inputs))
            took.append(time.perf_counter() - start)
    return first, sorted(took)[len(took) // 2]
