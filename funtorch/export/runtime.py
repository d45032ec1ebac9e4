"""Calling a stored program on tensors: arguments checked, state read and written back."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from funtorch.bridge import as_tensor
from funtorch.dispatch import read
from funtorch.export.artifact import ArtifactError, Leaf, Signature, Stored
from funtorch.export.build import Built
from funtorch.export.structure import described, differs, rebuilt
from funtorch.func.pure import record_pure
from funtorch.func.stateful import window_key
from funtorch.grad_mode import mode, no_grad
from funtorch.lowering import Value, aot, aval_of, native
from funtorch.lowering.record import owner
from funtorch.lowering.x64 import x64
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.ops._draw import fresh_key
from funtorch.tensor import Tensor, from_host, wrap

_serial = itertools.count()
_EXPRESSION = re.compile(r"^(?:(\d+)\*)?([A-Za-z_]\w*)(?: ([+-]) (\d+))?$")


class Program:
    """An exported program that can be called with tensors and a state by name.

    ignored: for each stored executable that cannot be used here, why. onnx, graph: the same
    as ONNX, and as an FX graph.
    """

    def __init__(self, signature: Signature, exported: Any) -> None:
        self.signature = signature
        self.exported = exported
        self.name = f"program_{next(_serial)}"
        self.ignored: list[str] = []
        self.onnx: bytes | None = None
        self.graph: bytes | None = None
        self._codes: dict[Any, bytes] = {}
        self._loaded: dict[Any, native.Native] = {}

    @classmethod
    def from_stored(cls, stored: Stored, name: str) -> Program:
        """Out of an artifact. Raises ArtifactError if the bytes cannot be read."""
        try:
            made = cls(stored.signature, aot.from_bytes(stored.jaxexport))
        except Exception as error:
            raise ArtifactError(f"the program {name!r} cannot be read: {error}") from error
        made.onnx, made.graph = stored.onnx, stored.graph
        for code in stored.executables:
            reason = native.unfit(code.target)
            if reason is None:
                structs = structs_at(made.signature, code.sizes)
                made._codes[tuple((s.shape, s.dtype) for s in structs)] = code.data
            else:
                made.ignored.append(reason)
        return made

    @classmethod
    def from_built(cls, built: Built) -> Program:
        """Fresh from `build`."""
        return cls(built.signature, built.exported)

    def call(
        self,
        state: Mapping[str, Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        numbers: Mapping[str, float] | None = None,
    ) -> Any:
        """Run: outputs are returned, changed state is written in place."""
        own = self.signature
        given = iter(self._arguments(args, kwargs))
        changed = {leaf.target for leaf in own.outputs if leaf.role != "output"}
        inputs: dict[str, Tensor] = {}
        tensors: list[Tensor] = []
        for leaf in own.inputs:
            if leaf.role == "input":
                found = inputs[leaf.name] = next(given)
            elif leaf.role == "rng":
                found = fresh_key(tensors[0]._value.aval.place if tensors else _place(state))
            elif leaf.target is None:
                number = (numbers or {}).get(leaf.name, own.numbers[leaf.name])
                found = as_tensor(np.array(number, leaf.dtype))
            else:
                found = state[leaf.target]
                if leaf.target in changed and not found._requires:
                    found = wrap(read(found))  # the tape keeps what it holds now
            tensors.append(found)
        self._check_platform(tensors)
        outs = self._record(tensors)
        plain = [o for o, leaf in zip(outs, own.outputs, strict=True) if leaf.role == "output"]
        with no_grad():
            for out, leaf in zip(outs, own.outputs, strict=True):
                if leaf.role != "output":
                    target = inputs if leaf.role == "input" else state
                    target[leaf.target]._replace(out)  # type: ignore[index]
        return rebuilt(own.out_spec, plain)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise what `call` would raise for arguments that do not fit."""
        self._arguments(args, kwargs)

    def _record(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        if not self.signature.outputs:
            return []
        taped = mode.enabled and any(t._requires for t in tensors)
        if self.signature.vjp_order == 0 and taped:
            with no_grad():
                return self._record(tensors)
        if self._codes and not taped and owner().capture is None:
            values = [read(t) for t in tensors]
            executable = self._executable(values)
            if executable is not None:
                return _run(executable, values)
        return record_pure(
            self.name, self.name, lambda arrays: list(aot.call(self.exported, arrays)), tensors
        )

    def _executable(self, values: Sequence[Value]) -> native.Native | None:
        """The stored executable for these inputs; one that does not load after all is dropped."""
        key = tuple((v.aval.shape, v.aval.dtype) for v in values)
        if key in self._codes and key not in self._loaded:
            try:
                self._loaded[key] = native.Native(self._codes[key])
            except (jax.errors.JaxRuntimeError, ValueError) as error:
                self.ignored.append(str(error))
                del self._codes[key]
        return self._loaded.get(key)

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """The tensors of the arguments, in the order of the program. Raises for what is wrong."""
        spec = self.signature.in_spec
        names = spec["names"]
        if len(args) > len(names):
            raise TypeError(f"the program takes {len(names)} positional arguments, not {len(args)}")
        values = dict(zip(names, args, strict=False))
        for key, value in kwargs.items():
            if key in values:
                raise TypeError(f"got multiple values for argument {key!r}")
            values[key] = value
        wanted = [*names, *(k for k, _ in spec["kwargs"])]
        missing = [n for n in wanted if n not in values]
        unknown = [n for n in values if n not in wanted]
        if missing or unknown:
            raise TypeError(f"arguments missing: {missing}, unknown: {unknown}")
        leaves: list[Tensor] = []
        specs = [*spec["args"], *(s for _, s in spec["kwargs"])]
        for name, theirs in zip(wanted, specs, strict=True):
            mine: list[Tensor] = []
            found = described(values[name], mine, [], name)
            wrong = differs(found, _shifted(theirs, len(leaves)), name)
            if wrong:
                raise RuntimeError(wrong)
            leaves += mine
        self.check_tensors(leaves)
        return leaves

    def check_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Raise RuntimeError if the tensors of the arguments do not fit, in terms of dimensions."""
        sizes: dict[str, tuple[int, str]] = {}
        wanted = [leaf for leaf in self.signature.inputs if leaf.role == "input"]
        for tensor, leaf in zip(tensors, wanted, strict=True):
            aval = read(tensor).aval
            if aval.dtype.name != leaf.dtype:
                raise RuntimeError(
                    f"{leaf.name} is {aval.dtype.name}, the program was made for {leaf.dtype}"
                )
            if len(aval.shape) != len(leaf.shape):
                raise RuntimeError(
                    f"{leaf.name} has shape {list(aval.shape)}, the program was made for "
                    f"[{', '.join(map(str, leaf.shape))}]"
                )
            for axis, (size, entry) in enumerate(zip(aval.shape, leaf.shape, strict=True)):
                self._check_size(f"{leaf.name}.shape[{axis}]", size, entry, sizes)

    def _check_size(
        self, where: str, size: int, entry: int | str, sizes: dict[str, tuple[int, str]]
    ) -> None:
        if isinstance(entry, int):
            if size != entry:
                raise RuntimeError(f"{where} is {size}, the program was made for {entry}")
            return
        match = _EXPRESSION.match(entry)
        assert match is not None
        factor, name, sign, offset = match.groups()
        shift = int(offset or 0) * (-1 if sign == "-" else 1)
        root, rest = divmod(size - shift, int(factor or 1))
        if rest:
            raise RuntimeError(f"{where} is {size}, which is not {entry} for any whole {name}")
        low, high = self.signature.dims[name]
        if root < (low or 0) or (high is not None and root > high):
            words = f"{low} <= {name}" + (f" <= {high}" if high is not None else "")
            raise RuntimeError(f"{where} = {entry} is {size}, but the program needs {words}")
        before = sizes.setdefault(name, (root, where))
        if before[0] != root:
            raise RuntimeError(
                f"{name} cannot be {before[0]} ({before[1]}) and {root} ({where}) at once"
            )

    def _check_platform(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        found = read(tensors[0]).aval.place.platform
        name = {"gpu": "cuda"}.get(found, found)
        if name not in self.signature.platforms:
            raise ArtifactError(
                f"the program was made for {', '.join(self.signature.platforms)}; the tensors are "
                f"on {name}"
            )


def _run(executable: native.Native, values: Sequence[Value]) -> list[Tensor]:
    """Call an executable at once: what is pending among its inputs is computed first."""
    place = values[0].aval.place
    outs = executable([value.concrete() for value in values])
    return [wrap(Value(aval_of(o.shape, o.dtype, place), o)) for o in outs]


def _place(state: Mapping[str, Tensor]) -> Any:
    from funtorch.device import place_of

    for tensor in state.values():
        return read(tensor).aval.place
    return place_of(None)


def _shifted(spec: Any, by: int) -> Any:
    """A description whose leaves are counted from `by` less."""
    if isinstance(spec, dict):
        if "leaf" in spec:
            return {"leaf": spec["leaf"] - by}
        return {k: _shifted(v, by) for k, v in spec.items()}
    if isinstance(spec, list):
        return [_shifted(v, by) for v in spec]
    return spec


def structs_at(signature: Signature, sizes: Mapping[str, int]) -> list[jax.ShapeDtypeStruct]:
    """The shapes of a program's inputs at these sizes of its dimensions."""

    def extent(entry: int | str) -> int:
        match = _EXPRESSION.match(str(entry))
        if isinstance(entry, int) or match is None:
            return int(entry)
        factor, name, sign, offset = match.groups()
        return int(factor or 1) * sizes[name] + int(offset or 0) * (-1 if sign == "-" else 1)

    with x64():
        return [
            jax.ShapeDtypeStruct(tuple(extent(e) for e in leaf.shape), np.dtype(leaf.dtype))
            for leaf in signature.inputs
        ]


# State ------------------------------------------------------------------------------------------


def state_of(
    arrays: Mapping[str, np.ndarray[Any, Any]], entries: Mapping[str, Any], device: Any = None
) -> dict[str, Tensor]:
    """The tensors of an artifact by name; names that share one, share it again."""
    found: dict[str, Tensor] = {}
    for name, entry in entries.items():
        other = entry.get("alias_of")
        if other is not None:
            found[name] = found[other]
            continue
        if name not in arrays:
            raise ArtifactError(f"the weights lack {name!r}")
        tensor = from_host(arrays[name], device=device)
        if entry["role"] == "param":
            tensor = Parameter(tensor, requires_grad=entry.get("requires_grad", True))
        found[name] = tensor
    return found


class Node(Module):
    """A submodule of a loaded module: it holds state and has no code of its own."""


def populate(module: Module, state: Mapping[str, Tensor], entries: Mapping[str, Any]) -> None:
    """Register the parameters and buffers of a state under their dotted names."""
    for name, tensor in state.items():
        *path, last = name.split(".")
        owner = module
        for part in path:
            if part not in owner._modules:
                owner._modules[part] = Node()
            owner = owner._modules[part]
        entry = entries[name]
        if entry["role"] == "param":
            owner._parameters[last] = tensor
        elif entry["role"] == "buffer":
            owner._buffers[last] = tensor
            if not entry.get("persistent", True):
                owner._non_persistent_buffers_set.add(last)


def present_state(module: Module, others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a module's programs read: its parameters and buffers as they are now, and constants."""
    state: dict[str, Tensor] = dict(others)
    state.update(module.named_parameters(remove_duplicate=False))
    state.update(module.named_buffers(remove_duplicate=False))
    return state


def constants_of(built: Built, prefix: str = "") -> dict[str, Tensor]:
    """The constants of a program as tensors, by the names that its signature gives them."""
    return {f"{prefix}constant.{i}": wrap(v) for i, v in enumerate(built.constants)}


def entries_of(module: Module) -> dict[str, Any]:
    """What a manifest says of each parameter and buffer."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    owners: dict[Any, str] = {}
    entries: dict[str, Any] = {}
    loose = {
        f"{path}.{name}" if path else name
        for path, sub in module.named_modules()
        for name in sub._non_persistent_buffers_set
    }
    everything = {**parameters, **dict(module.named_buffers(remove_duplicate=False))}
    for name, tensor in everything.items():
        if name in parameters:
            entry: dict[str, Any] = {"role": "param", "requires_grad": tensor.requires_grad}
        else:
            entry = {"role": "buffer", "persistent": name not in loose}
        first = owners.setdefault(window_key(tensor), name)
        if first != name:
            entry["alias_of"] = first
        entries[name] = entry
    return entries


__all__ = ["Leaf", "Program", "populate", "present_state", "state_of"]
