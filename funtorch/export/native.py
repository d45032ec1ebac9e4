"""What an artifact may hold for machines like this one, and for programs without Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funtorch.export.artifact import Artifact, Fixed, NativeCode, read, write
from funtorch.export.program import ExportedProgram
from funtorch.export.runtime import structs_at
from funtorch.export.training import ExportedStep
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


def add_fixed(file: Any, program: ExportedProgram | ExportedStep) -> dict[str, int]:
    """Put a program (or step) of fixed shapes beside the same one with open dimensions, for C++.

    Returns the sizes that it stands for. Raises ValueError where it is not the same program, or has no
    form without Python.
    """
    found = read(file)
    ((name, fixed),) = program.artifact().programs.items()
    if name not in found.programs:
        raise ValueError(f"{file} holds no program {name!r}, but {sorted(found.programs)}")
    stored = found.programs[name]
    wide, own = stored.signature, fixed.signature
    pairs = list(zip(wide.inputs, own.inputs, strict=False))
    same = len(wide.inputs) == len(own.inputs) and not own.dims
    same = same and all((a.name, a.dtype) == (b.name, b.dtype) for a, b in pairs)
    sizes: dict[str, int] = {}
    for dim in wide.dims:
        places = [int(b.shape[a.shape.index(dim)]) for a, b in pairs if dim in a.shape]
        sizes.update({dim: places[0]} if same and places else {})
    shapes = (
        [list(s.shape) for s in structs_at(wide, sizes)] if len(sizes) == len(wide.dims) else []
    )
    if not same or shapes != [leaf.shape for leaf in own.inputs]:
        raise ValueError(f"{file}: the programs take different arguments")
    if fixed.vhlo is None:
        raise ValueError("the program calls a library that comes with JAX only")
    outputs = [[int(n) for n in leaf.shape] for leaf in own.outputs]
    stored.fixed = [form for form in stored.fixed if form.sizes != sizes]
    stored.fixed.append(Fixed(sizes, shapes, outputs, fixed.vhlo))
    write(found, file)
    return sizes


__all__ = ["add_executables", "add_fixed", "compile_into"]
