"""Executables in an artifact: programs that are ready at once on machines like this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funtorch.export.artifact import Artifact, NativeCode, read, write
from funtorch.export.runtime import structs_at
from funtorch.lowering import aot, native


def add_executables(
    file: Any, sizes: Mapping[str, int] | None = None, programs: list[str] | None = None
) -> dict[str, str]:
    """Compile an artifact's programs for this machine and put the executables into the file.

    sizes: of the open dimensions ({'batch': 8}); call again for further ones. programs: names, all if
    None. Returns program -> why it has no executable, for those that cannot have one. With
    XLA_FLAGS=--xla_cpu_max_isa=AVX2 (set before anything runs) the code runs on older processors.
    """
    found = read(file)
    skipped = compile_into(found, dict(sizes or {}), programs)
    write(found, file)
    return skipped


def compile_into(
    found: Artifact, sizes: dict[str, int], programs: list[str] | None = None
) -> dict[str, str]:
    """`add_executables` on an artifact in memory."""
    skipped: dict[str, str] = {}
    for name in programs or found.programs:
        stored = found.programs[name]
        wanted = {n: sizes[n] for n in stored.signature.dims if n in sizes}
        missing = [n for n in stored.signature.dims if n not in sizes]
        if missing:
            skipped[name] = f"an executable needs a size for {', '.join(missing)}"
            continue
        made = aot.from_bytes(stored.jaxexport)
        try:
            data = native.compiled(made.call, structs_at(stored.signature, wanted))
        except native.NoExecutableError as error:
            skipped[name] = str(error)
            continue
        target = native.target_of(data)
        # A newer one for the same sizes and target takes the place of the older.
        stored.executables = [
            c for c in stored.executables if (c.sizes, c.target) != (wanted, target)
        ] + [NativeCode(wanted, target, data)]
    return skipped


__all__ = ["add_executables", "compile_into"]
