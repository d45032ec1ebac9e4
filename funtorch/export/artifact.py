"""The artifact: one stored zip with programs, their signatures and the weights.

    manifest.json              format version, signatures, hashes
    programs/<name>.jaxexport  for Python (jax.export)
    programs/<name>.vhlo       StableHLO of an older version, for programs without Python
    programs/<name>.0.vhlo     of programs with open dimensions: at one size of them, and so on
    programs/<name>.stablehlo  instead of both: StableHLO as text, from the C++ front end
    graphs/<name>.json         the same as a list of ops by the dispatcher's names (FX)
    onnx/<name>.onnx           the same as ONNX, without the weights
    weights.safetensors        every parameter, buffer, optimiser state and constant
    exec/<name>.<number>       executables: native code for one runtime and kind of processor
    extra/<name>               what the user put beside them

Nothing in it is ever unpickled, and nothing runs before its hash was checked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any

import jax
import numpy as np

from funtorch.export import weights
from funtorch.lowering import aot
from funtorch.serialization import archive
from funtorch.version import __version__

FORMAT = "funtorch-artifact"
VERSION = 2  # 2: what only Python reads may be compressed
_PACKED = (".jaxexport", ".json")
_ALIGNMENT = 64
_LOCAL_HEADER = 30
_ZIP64_LIMIT = (1 << 31) - 1


class ArtifactError(RuntimeError):
    """A file that is damaged, of another kind, from a newer version, or for another platform."""


@dataclasses.dataclass
class Leaf:
    """One array that a program takes or returns.

    shape: integers, and expressions of the dims. role: input, param, buffer, optimizer, rng, lr,
    constant, output. target: the name of the state that it is read from or written to.
    """

    name: str
    dtype: str
    shape: list[int | str]
    role: str
    target: str | None = None


@dataclasses.dataclass
class Signature:
    """What a program takes and returns. dims: name -> [min, max or None].

    donate: pairs (input, output) that may share a buffer. numbers: inputs that are numbers (the
    learning rate), with what they are if nobody says otherwise. in_spec, out_spec: how the leaves lie in
    nested arguments (see `structure`).
    """

    inputs: list[Leaf]
    outputs: list[Leaf]
    dims: dict[str, list[int | None]]
    in_spec: Any
    out_spec: Any
    platforms: list[str]
    vjp_order: int = 0
    donate: list[list[int]] = dataclasses.field(default_factory=list)
    ops: dict[str, int] = dataclasses.field(default_factory=dict)
    flops: float | None = None
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Signature:
        """From its entry in a manifest."""
        known = {f.name for f in dataclasses.fields(cls)}
        made = {k: v for k, v in entry.items() if k in known}
        for side in ("inputs", "outputs"):
            made[side] = [Leaf(**leaf) for leaf in entry[side]]
        return cls(**made)


@dataclasses.dataclass
class NativeCode:
    """An executable of a program at fixed sizes of its dimensions. target: what it needs to run."""

    sizes: dict[str, int]
    target: dict[str, Any]
    data: bytes


@dataclasses.dataclass
class Fixed:
    """A program at fixed sizes of its dimensions, without Python; shapes of its leaves in order."""

    sizes: dict[str, int]
    inputs: list[list[int]]
    outputs: list[list[int]]
    vhlo: bytes


@dataclasses.dataclass
class Stored:
    """One program of an artifact: its signature and its bytes."""

    signature: Signature
    jaxexport: bytes
    vhlo: bytes | None = None
    stablehlo: bytes | None = None
    executables: list[NativeCode] = dataclasses.field(default_factory=list)
    onnx: bytes | None = None
    fixed: list[Fixed] = dataclasses.field(default_factory=list)
    graph: bytes | None = None


@dataclasses.dataclass
class Artifact:
    """Everything in a file. state: name -> {role, requires_grad, persistent, alias_of}."""

    kind: str
    programs: dict[str, Stored]
    arrays: dict[str, np.ndarray[Any, Any]]
    state: dict[str, dict[str, Any]]
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    extra: dict[str, bytes] = dataclasses.field(default_factory=dict)


# Writing ----------------------------------------------------------------------------------------


def write(artifact: Artifact, target: Any) -> None:
    """Write to a path (which the file takes only once it is complete) or a binary file object."""
    records: dict[str, bytes] = {"weights.safetensors": weights.to_bytes(artifact.arrays)}
    entries: dict[str, Any] = {}
    for name, stored in artifact.programs.items():
        entries[name] = dataclasses.asdict(stored.signature)
        forms = {"vhlo": stored.vhlo, "stablehlo": stored.stablehlo}
        if stored.stablehlo is None:
            forms["jaxexport"] = stored.jaxexport
        records.update({f"programs/{name}.{k}": v for k, v in forms.items() if v is not None})
        if stored.onnx is not None:
            records[f"onnx/{name}.onnx"] = stored.onnx
        if stored.graph is not None:
            records[f"graphs/{name}.json"] = stored.graph
        entries[name]["fixed"] = []
        for i, form in enumerate(stored.fixed):
            file = f"programs/{name}.{i}.vhlo"
            listed = {"sizes": form.sizes, "inputs": form.inputs, "outputs": form.outputs}
            entries[name]["fixed"].append({"file": file, **listed})
            records[file] = form.vhlo
        entries[name]["exec"] = []
        for i, code in enumerate(stored.executables):
            file = f"exec/{name}.{i}"
            entries[name]["exec"].append({"file": file, "sizes": code.sizes, "target": code.target})
            records[file] = code.data
    for name, data in artifact.extra.items():
        records[f"extra/{name}"] = data if isinstance(data, bytes) else str(data).encode()
    packed = {name: zlib.compress(data) for name, data in records.items() if name.endswith(_PACKED)}
    sizes = {name: len(records[name]) for name in packed}
    records.update(packed)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "writer": f"funtorch {__version__}",
        "kind": artifact.kind,
        "about": artifact.about,
        "programs": entries,
        "state": artifact.state,
        "files": {
            name: {
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                **({"unpacked": sizes[name]} if name in sizes else {}),
            }
            for name, data in records.items()
        },
    }
    text = json.dumps(manifest, separators=(",", ":")).encode()
    if isinstance(target, str | os.PathLike):
        with archive.replacing(target) as file:
            _write_zip(file, {"manifest.json": text, **records})
    else:
        _write_zip(target, {"manifest.json": text, **records})


def _write_zip(file: IO[bytes], records: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as made:
        for name, data in records.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            large = len(data) > _ZIP64_LIMIT
            # The data of every record begins at a multiple of 64: an extra field makes up for it.
            start = made.start_dir + _LOCAL_HEADER + len(name.encode()) + 4 + (20 if large else 0)
            padding = -start % _ALIGNMENT
            info.extra = b"FB" + struct.pack("<H", padding) + b"\0" * padding
            info.file_size = len(data)
            with made.open(info, "w", force_zip64=large) as record:
                record.write(data)


# Reading ----------------------------------------------------------------------------------------


def read(source: Any, *, extra: bool = True) -> Artifact:
    """Read from a path or a binary file object. Raises ArtifactError before anything runs."""
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the file"
    if not isinstance(source, str | os.PathLike):
        return _read(source, name, extra)
    with open(source, "rb") as file:  # noqa: PTH123  (any path-like)
        return _read(file, name, extra)


def read_manifest(source: Any) -> dict[str, Any]:
    """Only what the manifest says; hashes are not checked."""
    with _opened(source, str(source)) as archive_:
        return _manifest(archive_, str(source))


@contextlib.contextmanager
def _opened(file: Any, name: str) -> Any:
    try:
        opened = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise ArtifactError(f"{name} is no artifact, or it is damaged: {error}") from error
    with opened:
        yield opened


def _read(file: Any, name: str, extra: bool) -> Artifact:
    with _opened(file, name) as archive_:
        manifest = _manifest(archive_, name)
        records = {key: _record(archive_, manifest, key, name) for key in manifest["files"]}
    try:
        return _assembled(manifest, records)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{name} is damaged: {error}") from error


def _stored(name: str, entry: dict[str, Any], records: Mapping[str, bytes]) -> Stored:
    signature = Signature.from_json(entry)
    text = records.get(f"programs/{name}.stablehlo")
    if text is None:
        program = records[f"programs/{name}.jaxexport"]
    else:
        sides = [
            [jax.ShapeDtypeStruct(tuple(leaf.shape), np.dtype(leaf.dtype)) for leaf in side]
            for side in (signature.inputs, signature.outputs)
        ]
        program, _ = aot.to_bytes(aot.from_stablehlo(text.decode(), *sides), gradient=False)
    codes = [
        NativeCode(code["sizes"], code["target"], records[code["file"]])
        for code in entry.get("exec", ())
    ]
    vhlo, onnx = records.get(f"programs/{name}.vhlo"), records.get(f"onnx/{name}.onnx")
    fixed = [
        Fixed(form["sizes"], form["inputs"], form["outputs"], records[form["file"]])
        for form in entry.get("fixed", ())
    ]
    graph = records.get(f"graphs/{name}.json")
    return Stored(signature, program, vhlo, text, codes, onnx, fixed, graph)


def _assembled(manifest: dict[str, Any], records: dict[str, bytes]) -> Artifact:
    programs = {name: _stored(name, entry, records) for name, entry in manifest["programs"].items()}
    return Artifact(
        manifest["kind"],
        programs,
        weights.from_bytes(records["weights.safetensors"]),
        manifest["state"],
        manifest["about"],
        {k.removeprefix("extra/"): v for k, v in records.items() if k.startswith("extra/")},
    )


def _manifest(archive_: zipfile.ZipFile, name: str) -> dict[str, Any]:
    names = archive_.namelist()
    if "manifest.json" not in names:
        if any(n.endswith(("/data.pkl", "/constants.pkl")) for n in names):
            raise ArtifactError(
                f"{name} was written by PyTorch, or by torch.save: it is no artifact. torch.load "
                "reads what torch.save wrote, torch.jit.load TorchScript"
            )
        raise ArtifactError(f"{name} is a zip file without a manifest: no artifact")
    try:
        manifest: dict[str, Any] = json.loads(archive_.read("manifest.json"))
    except (zipfile.BadZipFile, ValueError) as error:
        raise ArtifactError(f"{name} is damaged: {error}") from error
    if manifest.get("format") != FORMAT:
        raise ArtifactError(f"{name} is no artifact: its format is {manifest.get('format')!r}")
    if not isinstance(manifest.get("version"), int) or manifest["version"] > VERSION:
        raise ArtifactError(
            f"{name} has format version {manifest.get('version')}, written by "
            f"{manifest.get('writer')}; this is funtorch {__version__}, which reads up to "
            f"{VERSION}: a newer funtorch is needed"
        )
    return manifest


def _record(archive_: zipfile.ZipFile, manifest: dict[str, Any], key: str, name: str) -> bytes:
    try:
        data = archive_.read(key)
    except (KeyError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ArtifactError(f"{name} is damaged: {key}: {error}") from error
    entry = manifest["files"][key]
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ArtifactError(f"{name} is damaged: {key} is not what was written (its hash differs)")
    return _unpacked(data, entry["unpacked"], key, name) if "unpacked" in entry else data


def _unpacked(data: bytes, size: int, key: str, name: str) -> bytes:
    """A compressed record, which may not be larger than the manifest says."""
    try:
        found = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise ArtifactError(f"{name} is damaged: {key}: {error}") from error
    if len(found) != size:
        raise ArtifactError(f"{name} is damaged: {key} is not as large as the manifest says")
    return found
