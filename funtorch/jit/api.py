"""torch.jit.script, trace, save, load and the decorators around them."""

from __future__ import annotations

import contextlib
import os
import typing
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from funtorch.compiler.state import is_scripting
from funtorch.device import device as as_device
from funtorch.export.artifact import Artifact, read
from funtorch.export.program import split_state
from funtorch.export.runtime import Program, populate, present_state
from funtorch.futures import Future
from funtorch.jit import torchscript
from funtorch.jit.control import control
from funtorch.jit.modules import Callables, ScriptFunction, ScriptModule, graph_of
from funtorch.nn.module import Module
from funtorch.tensor import Tensor

Final = typing.Final


class Attribute(typing.NamedTuple):
    value: Any
    type: Any


class RecursiveScriptModule(ScriptModule):
    """What `torch.jit.script(module)` returns."""


class TracedModule(ScriptModule):
    """What `torch.jit.trace(module, inputs)` returns."""


class TopLevelTracedModule(TracedModule):
    """PyTorch's name of the same."""


def script(
    obj: Any,
    optimize: Any = None,
    _frames_up: int = 0,
    _rcb: Any = None,
    example_inputs: Any = None,
) -> Any:
    """A module or function that can be saved and loaded without its source. Also a decorator.

    Classes and enums are returned as they are. A program needs shapes: the calls that are made
    before `save` (or `example_inputs`, a list of tuples) decide for which there will be one.
    """
    if isinstance(obj, ScriptModule | ScriptFunction | type):
        return obj
    if isinstance(obj, Module):
        made: Any = RecursiveScriptModule(obj, "script")
    elif callable(obj):
        made = ScriptFunction(obj, "script")
    else:
        raise RuntimeError(f"torch.jit.script expects a module or a function, not {type(obj)}")
    if isinstance(example_inputs, dict):
        example_inputs = next(iter(example_inputs.values()))
    for example in example_inputs or ():
        made(*example)
    return made


def trace(
    func: Any,
    example_inputs: Any = None,
    optimize: Any = None,
    check_trace: bool = True,
    check_inputs: Any = None,
    check_tolerance: float = 1e-5,
    strict: bool = True,
    _force_outplace: bool = False,
    _module_class: Any = None,
    _compilation_unit: Any = None,
    example_kwarg_inputs: Mapping[str, Any] | None = None,
    _store_inputs: bool = True,
) -> Any:
    """Record a call of a module or function with example inputs.

    Calls with other shapes are recorded anew. A branch on a tensor's value is taken in both
    directions as under `script`, not frozen to what the example did.
    """
    if example_inputs is None and example_kwarg_inputs is None:
        raise RuntimeError("example_kwarg_inputs should be a dict")
    if isinstance(func, ScriptModule | ScriptFunction):
        return func
    args = () if example_inputs is None else example_inputs
    args = (args,) if isinstance(args, Tensor | dict) else tuple(args)
    made: Any
    if isinstance(func, Module):
        made = TopLevelTracedModule(func, "trace")
    elif callable(func):
        made = ScriptFunction(func, "trace")
    else:
        raise RuntimeError(f"torch.jit.trace expects a module or a function, not {type(func)}")
    method = made._methods["forward"]
    method.remember(args, dict(example_kwarg_inputs or {}))
    _ = made.graph  # what cannot become a program says so now
    return made


def trace_module(mod: Module, inputs: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Record calls of several methods: {name: example inputs}. Otherwise like `trace`."""
    if not isinstance(inputs, dict):
        raise AttributeError("expected a dictionary of (method_name, input) pairs")
    made = TopLevelTracedModule(mod, "trace")
    for name, given in inputs.items():
        if name not in made._methods:
            bound = control.callee(getattr(mod, name))
            made._methods[name] = Callables(name, bound, mod, bound)
        given = (given,) if isinstance(given, Tensor | dict) else tuple(given)
        made._methods[name].remember(given, {})
        graph_of(made._methods[name])  # what cannot become a program says so now
    return made


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    """A call whose result is waited for later. It is recorded at once: nothing runs before then."""
    future: Future[Any] = Future()
    future.set_result(func(*args, **kwargs))
    return future


def wait(future: Future[Any]) -> Any:
    """The result of `fork`."""
    return future.wait()


def save(m: Any, f: Any, _extra_files: Mapping[str, Any] | None = None) -> None:
    """Write what script or trace returned to a path or binary file object, as an artifact."""
    if not isinstance(m, ScriptModule | ScriptFunction):
        raise TypeError(f"torch.jit.save expects a ScriptModule or ScriptFunction, not {type(m)}")
    m.save(f, _extra_files=_extra_files)


class LoadedModule(RecursiveScriptModule):
    """A module out of an artifact: programs, parameters and buffers, and no Python code."""

    def __init__(self, found: Artifact, device: Any = None) -> None:
        Module.__init__(self)
        state, constants, entries = split_state(found, device)
        populate(self, state, entries)
        own = self.__dict__
        own["_found"], own["_constants"] = found, constants
        own["_programs"] = {
            name: Program.from_stored(stored, name) for name, stored in found.programs.items()
        }
        own["training"] = bool(found.about.get("training", False))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program that fits the arguments and the mode."""
        return self._call("forward", args, kwargs)

    def _call(self, method: str, args: Any, kwargs: Any) -> Any:
        refused: list[Exception] = []
        mode = "train" if self.training else "eval"
        for name, program in self._programs.items():
            parts = name.split(".")
            if parts[0] != method or (len(parts) > 2 and parts[2] != mode):
                continue
            try:
                program.check(args, kwargs)
            except (RuntimeError, TypeError) as error:
                refused.append(error)
                continue
            return program.call(present_state(self, self._constants), args, kwargs)
        if len(refused) > 1:
            said = "; ".join(str(error) for error in refused)
            raise RuntimeError(f"no saved program fits these arguments: {said}")
        raise refused[0] if refused else AttributeError(f"there is no method {method!r}")

    def __getattr__(self, name: str) -> Any:
        programs = self.__dict__.get("_programs", {})
        if any(key.split(".")[0] == name for key in programs):
            return lambda *args, **kwargs: self._call(name, args, kwargs)
        return Module.__getattr__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        Module.__setattr__(self, name, value)

    def train(self, mode: bool = True) -> Module:
        """Training mode on or off."""
        self.__dict__["training"] = mode
        for child in self.children():
            child.train(mode)
        return self

    @property
    def original_name(self) -> str:
        """The name of the class that was saved."""
        return str(self._found.about.get("class", "Module"))

    @property
    def code(self) -> str:
        """The source of `forward` when it was saved, to read."""
        return str(self._found.about.get("code", ""))

    @property
    def graph(self) -> str:
        """The StableHLO of the first program."""
        from funtorch.lowering import aot

        return aot.text(next(iter(self._programs.values())).exported)

    def compile(self, *example_inputs: Any) -> ScriptModule:
        """The module itself: it holds programs and nothing else."""
        return self

    def artifact(self, extra: Mapping[str, Any] | None) -> Artifact:
        """What was loaded, with the present weights."""
        from funtorch.dispatch import to_host

        now = present_state(self, self._constants)
        found = self._found
        found.arrays = {n: to_host(now[n].detach()) for n in found.arrays}
        found.about["training"] = self.training
        found.extra = dict(extra) if extra is not None else found.extra
        return found

    def __repr__(self) -> str:
        return f"RecursiveScriptModule(original_name={self.original_name})"

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Any:
        return iter(self._modules.values())

    def __getitem__(self, index: Any) -> Any:
        return self._modules[str(index)]


class ArchiveModule(RecursiveScriptModule):
    """A module out of a TorchScript archive of PyTorch's, which is interpreted."""

    @property
    def original_name(self) -> str:
        """The name of the class that was saved."""
        return str(self._original.original_name)

    @property
    def code(self) -> str:
        """The source of `forward` in the archive."""
        return str(self._original.code)


def load(
    f: Any,
    map_location: Any = None,
    _extra_files: dict[str, Any] | None = None,
    _restore_shapes: bool = False,
) -> ScriptModule:
    """Read what `save` wrote, or a TorchScript archive of PyTorch's (see `torchscript`).

    Raises ArtifactError or RuntimeError for what is neither, or damaged.
    """
    device = None if map_location is None else as_device(map_location)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(Path(f).open("rb")) if isinstance(f, str | os.PathLike) else f
        if zipfile.is_zipfile(file):
            file.seek(0)
            if torchscript.is_archive(zipfile.ZipFile(file).namelist()):
                file.seek(0)
                return ArchiveModule(torchscript.load(file, device), "script")
        if file is not f:
            file.close()
    if not isinstance(f, str | os.PathLike):
        f.seek(0)
    found = read(f)
    if _extra_files is not None:
        for name in _extra_files:
            _extra_files[name] = found.extra.get(name, b"")
    return LoadedModule(found, device)


# Decorators ---------------------------------------------------------------------------------------


def _marked(function: Any, kind: str) -> Any:
    function._torchscript_modifier = kind
    return function


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """This function's control flow is left to Python."""
    return _marked(drop, "ignore") if callable(drop) else lambda fn: _marked(fn, "ignore")


def unused(fn: Any) -> Any:
    """As `ignore`."""
    return _marked(fn, "unused")


def export(fn: Any) -> Any:
    """This method is saved too, for the calls that were made of it."""
    return _marked(fn, "export")


def script_if_tracing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself: tracing keeps control flow on tensors anyway."""
    return fn


def interface(obj: Any) -> Any:
    """The class itself: Python needs no declaration of interfaces."""
    return obj


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value


def isinstance_(obj: Any, target_type: Any) -> bool:
    """`isinstance`, for containers by their outermost type."""
    kinds = target_type if isinstance(target_type, tuple) else (target_type,)
    return isinstance(obj, tuple(typing.get_origin(k) or k for k in kinds))


def is_tracing() -> bool:
    """Is a program being captured just now?"""
    from funtorch.lowering.record import owner

    return owner().capture is not None


def freeze(mod: Any, preserved_attrs: Any = None, optimize_numerics: bool = True) -> Any:
    """The module itself, which must be in evaluation mode: XLA folds constants when it compiles."""
    if not isinstance(mod, ScriptModule):
        raise RuntimeError(
            "Freezing expects a ScriptModule as input. Please use torch.jit.script or "
            "torch.jit.trace to script your 'nn.Module'."
        )
    if mod.training:
        raise RuntimeError("Freezing module in training mode is not supported: call eval() first")
    return mod


def optimize_for_inference(mod: Any, other_methods: Any = None) -> Any:
    """`freeze`."""
    return freeze(mod)


def script_method(fn: Any) -> Any:
    """The method itself."""
    return fn


def overload(fn: Any) -> Any:
    """The function itself: the definition that follows serves all overloads."""
    return fn


__all__ = [
    "Attribute",
    "Final",
    "RecursiveScriptModule",
    "annotate",
    "export",
    "freeze",
    "ignore",
    "interface",
    "is_scripting",
    "is_tracing",
    "load",
    "save",
    "script",
    "trace",
    "unused",
]
