"""ScriptModule and ScriptFunction: what script, trace and load return.

Calls run the Python code, recorded and compiled as everything here is; the signatures that were seen
are remembered. `compile()` and `save()` turn each into a program of its own, which needs no Python.
"""

from __future__ import annotations

import inspect
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from funtorch.compiler.state import within
from funtorch.dispatch import read
from funtorch.export.artifact import Artifact, write
from funtorch.export.build import Built, Request, argument_names, axes_of, build, describe
from funtorch.export.dims import Dim
from funtorch.export.program import assembled
from funtorch.export.runtime import Program, constants_of, entries_of, present_state
from funtorch.func.pure import is_leaf, tree
from funtorch.func.stateful import module_state, purify
from funtorch.grad_mode import no_grad
from funtorch.jit.control import control
from funtorch.jit.listing import listing
from funtorch.lowering.record import owner
from funtorch.lowering.symbolic import ShapeError
from funtorch.nn.module import Module
from funtorch.tensor import Tensor

Call = tuple[tuple[Any, ...], dict[str, Any]]


def signature_of(args: Any, kwargs: Any) -> Any:
    """What distinguishes calls that need different programs."""
    leaves, structure = tree.tree_flatten((args, kwargs), is_leaf=is_leaf)
    return structure, tuple(read(x).aval if isinstance(x, Tensor) else (type(x), x) for x in leaves)


def _copied(node: Any) -> Any:
    return tree.tree_map(
        lambda x: x.detach().clone() if isinstance(x, Tensor) else x, node, is_leaf=is_leaf
    )


class Callables:
    """One function (or a module's call) with the calls that were recorded of it."""

    def __init__(
        self, name: str, function: Callable[..., Any], module: Module | None, signed: Any
    ) -> None:
        """signed: the function whose signature names the arguments."""
        self.name = name
        self.function = function
        self.signed = signed
        self.module = module
        self.recorded: dict[Any, Call] = {}
        self.programs: dict[Any, Program] = {}
        self.compiled = False

    def remember(self, args: Any, kwargs: Any) -> None:
        """Note a signature, with copies of its tensors."""
        try:
            key = signature_of(args, kwargs)
            if key not in self.recorded and owner().capture is None:
                self.recorded[key] = (_copied(args), _copied(kwargs))
        except TypeError:  # an argument that cannot be compared: no program can be made for it
            return

    def names(self, args: Any, kwargs: Any) -> list[str]:
        """Names of the positional arguments."""
        return argument_names(self.signed, args, kwargs)

    def request(self, call: Call) -> Request:
        """What to build for a recorded call."""
        args, kwargs = call
        module = self.module
        state = {} if module is None else module_state(module)
        roles = {n: e["role"] for n, e in entries_of(module).items()} if module else {}
        return Request(self.function, args, kwargs, state, roles, self.names(args, kwargs))

    def build(self, call: Call, *, any_batch: bool) -> Built:
        """A program; with any_batch one for every size of the first dimension, if there is one."""
        request = self.request(call)
        with no_grad(), within("scripting"):
            if any_batch:
                try:
                    return build(request, axes_of(request, _batched(call)))
                except (ShapeError, ValueError):
                    pass
            return build(request)


def _batched(call: Call) -> Any:
    dims: dict[int, Dim] = {}

    def of(node: Any) -> Any:
        if not isinstance(node, Tensor):
            return None
        if node.ndim == 0 or node.shape[0] < 1:
            return {}
        size = node.shape[0]
        return {0: dims.setdefault(size, Dim(f"s{len(dims)}"))}

    args, kwargs = call
    if kwargs:
        return None
    return tuple(tree.tree_map(of, a, is_leaf=is_leaf) for a in args)


class ScriptModule(Module):
    """A module that can be saved as programs. Base of what script, trace and load return."""

    _own = frozenset(("_methods", "_original", "_kind"))

    def __init__(self, original: Module, kind: str) -> None:
        super().__init__()
        own = self.__dict__
        for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            own[name] = original.__dict__[name]
        own["_original"], own["_kind"] = original, kind
        own["training"] = original.training
        own["_methods"] = {"forward": Callables("forward", self._run, original, original.forward)}
        for name in dir(type(original)):
            function = inspect.getattr_static(type(original), name)
            if getattr(function, "_torchscript_modifier", "") == "export":
                bound = control.callee(getattr(original, name))
                own["_methods"][name] = Callables(name, bound, original, bound)

    @property
    def original_name(self) -> str:
        """The name of the module's class."""
        return type(self._original).__name__

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        if owner().capture is None:
            return self._original(*args, **kwargs)
        return control.call_module(self._original, *args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own call."""
        return call_recorded(self._methods["forward"], args, kwargs)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if name in own.get("_methods", ()):
            method = own["_methods"][name]
            return lambda *args, **kwargs: call_recorded(method, args, kwargs)
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "_original" in own:
                return getattr(own["_original"], name)
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        if "_original" in self.__dict__:
            setattr(self._original, name, value)
            if name == "training":
                self.__dict__[name] = value
        else:
            object.__setattr__(self, name, value)

    def train(self, mode: bool = True) -> Module:
        """Training mode on or off."""
        self._original.train(mode)
        self.__dict__["training"] = mode
        return self

    @property
    def code(self) -> str:
        """The source of `forward`."""
        return source_of(type(self._original).forward)

    @property
    def graph(self) -> str:
        """The ops of the first recorded call, one to a line."""
        return graph_of(self._methods["forward"])

    inlined_graph = graph

    def compile(self, *example_inputs: Any) -> ScriptModule:
        """Compile for these inputs (or for every recorded call); other inputs are errors then.

        Returns a module that never runs its Python again, and shares this one's state.
        """
        method = self._methods["forward"]
        if example_inputs:
            method.remember(example_inputs, {})
        for key, call in _recorded(method).items():
            built = method.build(call, any_batch=False)
            method.programs[key] = Program.from_built(built)
            method.programs[key].signature.vjp_order = 1
            method.programs[key].constants = constants_of(built)  # type: ignore[attr-defined]
        method.compiled = True
        return self

    def save(self, f: Any, _extra_files: Mapping[str, Any] | None = None) -> None:
        """Write to a file; see `torch.jit.save`."""
        write(self.artifact(_extra_files), f)

    def save_to_buffer(self, _extra_files: Mapping[str, Any] | None = None) -> bytes:
        """The bytes that `save` writes."""
        file = io.BytesIO()
        self.save(file, _extra_files)
        return file.getvalue()

    def artifact(self, extra: Mapping[str, Any] | None) -> Artifact:
        """Every recorded call as a program, in both modes where they differ."""
        built: dict[str, Built] = {}
        module, before = self._original, self._original.training
        forward = self._methods["forward"]
        if not forward.recorded and not any(m.recorded for m in self._methods.values()):
            _recorded(forward)
        try:
            for name, method in self._methods.items():
                for index, call in enumerate(method.recorded.values()):
                    _build_modes(built, f"{name}.{index}", method, call, before)
        finally:
            module.train(before)
        about = {"class": self.original_name, "training": before, "code": self.code}
        return artifact_of(self._kind, module, built, extra, about)

    def __repr__(self) -> str:
        inner = repr(self._original).partition("(")[2]
        return f"{type(self).__name__}(original_name={self.original_name}{', ' if inner != ')' else ''}{inner}"

    def __len__(self) -> int:
        return len(self._original)  # type: ignore[arg-type]

    def __iter__(self) -> Any:
        return iter(self._original)  # type: ignore[call-overload]

    def __getitem__(self, index: Any) -> Any:
        return self._original[index]  # type: ignore[index]


def _build_modes(
    built: dict[str, Built], name: str, method: Callables, call: Call, now: bool
) -> None:
    """One program for both modes if they do the same, else one for each."""
    module = method.module
    assert module is not None
    keys = {}
    for mode in (False, True):
        _switch(module, mode, now)
        request = method.request(call)
        with no_grad(), within("scripting"):
            found = purify(request.function, request.args, request.kwargs, request.state)
        keys[mode] = found.captured.key
    modes = (now,) if keys[False] == keys[True] else (False, True)
    for mode in modes:
        _switch(module, mode, now)
        suffix = "" if len(modes) == 1 else (".train" if mode else ".eval")
        built[name + suffix] = method.build(call, any_batch=True)


def _switch(module: Module, mode: bool, now: bool) -> None:
    """Put a module into a mode; the one it is in is left exactly as it is."""
    if module.training != mode:
        module.train(mode)


def artifact_of(
    kind: str,
    module: Module | None,
    built: Mapping[str, Built],
    extra: Mapping[str, Any] | None,
    about: Mapping[str, Any],
) -> Artifact:
    """An artifact of several programs with one state; each keeps its constants."""
    constants: dict[str, Tensor] = {}
    for name, one in built.items():
        mine = constants_of(one)
        for leaf in one.signature.inputs:
            if leaf.role == "constant":
                constants[f"{name}/{leaf.target}"] = mine[leaf.target]  # type: ignore[index]
                leaf.target = f"{name}/{leaf.target}"
    state = {} if module is None else module_state(module)
    entries = {} if module is None else entries_of(module)
    return assembled(kind, built, state, entries, constants, extra or {}, about)


def _recorded(method: Callables) -> dict[Any, Call]:
    if not method.recorded:
        raise RuntimeError(
            f"nothing is known of the arguments of {method.name!r}: call it once, or give "
            "example inputs to .compile(...); a program needs shapes and dtypes"
        )
    return method.recorded


def call_recorded(method: Callables, args: Any, kwargs: Any) -> Any:
    """Call, through a compiled program if there must be one."""
    if method.compiled:
        program = method.programs.get(signature_of(args, kwargs))
        if program is None:
            program = next(iter(method.programs.values()))  # says what is wrong with the call
        state = {} if method.module is None else module_state(method.module)
        constants = program.constants  # type: ignore[attr-defined]
        return program.call({**constants, **state}, args, kwargs)
    method.remember(args, kwargs)
    with within("scripting"):
        return method.function(*args, **kwargs)


def source_of(function: Any) -> str:
    """A function's source, dedented; '' if there is none."""
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return ""


def graph_of(method: Callables) -> str:
    """A listing of the ops of the first recorded call."""
    request = method.request(next(iter(_recorded(method).values())))
    with no_grad(), within("scripting"):
        pure = purify(request.function, request.args, request.kwargs, request.state)
    names = [*pure.names, "rng", *describe(request)[2]]
    return listing(pure.program, names, pure.captured.scalars)


class ScriptFunction:
    """A function that can be saved as programs."""

    def __init__(self, function: Callable[..., Any], kind: str) -> None:
        self._function = function
        self._kind = kind
        self._method = Callables("forward", self._run, None, function)
        self.__name__ = self.name = getattr(function, "__name__", "function")
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self.__module__ = getattr(function, "__module__", __name__)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        if owner().capture is None:
            return self._function(*args, **kwargs)
        return control.callee(self._function)(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return call_recorded(self._method, args, kwargs)

    @property
    def code(self) -> str:
        """The function's source."""
        return source_of(self._function)

    @property
    def graph(self) -> str:
        """The ops of the first recorded call, one to a line."""
        return graph_of(self._method)

    inlined_graph = graph

    compile = ScriptModule.compile

    @property
    def _methods(self) -> dict[str, Callables]:
        return {"forward": self._method}

    def save(self, f: Any, _extra_files: Mapping[str, Any] | None = None) -> None:
        """Write to a file; see `torch.jit.save`."""
        built = {
            f"forward.{i}": self._method.build(call, any_batch=True)
            for i, call in enumerate(_recorded(self._method).values())
        }
        about = {"class": self.name, "training": False, "code": self.code, "function": True}
        write(artifact_of(self._kind, None, built, _extra_files, about), f)

    save_to_buffer = ScriptModule.save_to_buffer


__all__ = ["ScriptFunction", "ScriptModule", "Sequence", "present_state"]
