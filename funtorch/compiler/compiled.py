"""`torch.compile`: a call whose ops are compiled as one program.

Every program is recorded and compiled here anyway, a whole training step at a time, and a changed
signature or path through the Python code is a new trace of its own; so there are no graph breaks. What
`compile` adds is that the call is never cut into pieces, not even the first time, and that it need not be
recorded again as long as its guards hold (`guarded`). Functions as backends are in `backends`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from funtorch import lowering
from funtorch.compiler.guarded import MISSED, Guarded, epoch
from funtorch.compiler.registry import lookup_backend
from funtorch.compiler.state import Unsupported, within
from funtorch.grad_mode import mode as grad_mode
from funtorch.nn.module import Module

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


class Options(NamedTuple):
    """How to compile: the arguments of `compile` that matter."""

    backend: Any = "inductor"
    fullgraph: bool = False
    dynamic: bool = False
    extra: tuple[tuple[str, Any], ...] = ()


def compile(  # noqa: A001  (PyTorch's name)
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """Compile each call of a function or module as one program. Also a decorator.

    backend: XLA is behind 'inductor'; 'eager' and 'aot_eager' leave the call as it is;
    'onnxruntime' runs a module's inference on the CPU in that library; a function, or a name given
    by `torch._dynamo.register_backend`, gets an `fx.GraphModule` and the tensors it will be called
    with, and returns a function that runs it. mode and options reach such a function as keyword
    arguments; XLA has one mode.
    fullgraph: raise `torch._dynamo.exc.Unsupported` where a call is not one program.
    dynamic: True gives such a function a graph with symbolic sizes where that is possible. XLA
    compiles each shape by itself.
    """
    _check(backend, mode, options)
    if model is None:

        def decorate(function: Any) -> Any:
            if function is None:
                raise RuntimeError("Model can't be None")
            return compile(
                function,
                fullgraph=fullgraph,
                dynamic=dynamic,
                backend=backend,
                mode=mode,
                options=options,
                disable=disable,
            )

        return decorate
    if not callable(model):
        raise TypeError(f"torch.compile expects a callable or an nn.Module, not {type(model)}")
    if disable:
        return model
    how = _options(backend, fullgraph, dynamic, mode, options)
    return OptimizedModule(model, how) if isinstance(model, Module) else _call(model, how)


def _options(backend: Any, full: bool, dynamic: Any, mode: Any, options: Any) -> Options:
    extra = {"mode": mode if mode != "default" else None, "options": options}
    given = tuple((name, value) for name, value in extra.items() if value)
    return Options(backend, full, bool(dynamic), given)


def _call(function: Any, how: Options, label: Any = None) -> Callable[..., Any]:
    """The function as this backend calls it."""
    backend = lookup_backend(how.backend)
    if callable(backend):
        made = _above("backends").Compiled(
            function, backend, how.dynamic, how.fullgraph, dict(how.extra)
        )
        return _wrapped(function, made)
    if backend != "onnxruntime":
        return _compiled(function, how, label)
    if not isinstance(function, Module):
        raise TypeError(f"backend='onnxruntime' takes an nn.Module, not {type(function)}")
    return _above("onnxruntime").compiled(function)  # type: ignore[no-any-return]


def _above(name: str) -> Any:
    """A module of this package that stands above this file: it exports what it is given."""
    return importlib.import_module(f"funtorch.compiler.{name}")


def _wrapped(function: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function, updated=() if not inspect.isfunction(function) else ("__dict__",))
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    wrapper._torchdynamo_orig_callable = function  # type: ignore[attr-defined]
    return wrapper


def _check(backend: Any, mode: str | None, options: Any) -> None:
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    lookup_backend(backend)


def _compiled(function: Callable[..., Any], how: Options, label: Any = None) -> Any:
    label = ("compiled", id(function) if label is None else label)
    name = getattr(function, "__qualname__", type(function).__name__)
    whole = how.backend not in ("eager", "aot_eager")
    guarded = Guarded(function, (label, name)) if whole else None

    def call(*args: Any, **kwargs: Any) -> Any:
        if guarded is not None and (found := guarded(args, kwargs)) is not MISSED:
            return found
        before = lowering.stats.flushes
        with within("compiling"), lowering.scope(label, name, whole=whole):
            result = function(*args, **kwargs)
        if how.fullgraph and lowering.stats.flushes > before:
            raise Unsupported(
                f"{name} is not one program: it read a value of a tensor on the host (`explain()` "
                "names the lines that wait); without fullgraph=True it runs as several programs"
            )
        if not grad_mode.enabled:
            lowering.flush()
        return result

    return _wrapped(function, call)


class OptimizedModule(Module):
    """What `torch.compile(module)` returns: the module, each call of it one program."""

    _orig_mod: Module
    _own = frozenset(("_orig_mod", "_how", "_forward_once"))

    def __init__(self, module: Module, how: Options | None = None) -> None:
        super().__init__()
        how = how or Options()
        self._modules["_orig_mod"] = module
        object.__setattr__(self, "_how", how)
        object.__setattr__(self, "training", module.training)
        object.__setattr__(self, "_forward_once", _call(module, how, id(module)))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own call, hooks and all."""
        return self._forward_once(*args, **kwargs)

    __call__ = forward

    def __getattr__(self, name: str) -> Any:
        modules = self.__dict__.get("_modules", {})
        if name == "_orig_mod" and name in modules:
            return modules["_orig_mod"]
        if "_orig_mod" not in modules:
            raise AttributeError(name)
        return getattr(modules["_orig_mod"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        modules = self.__dict__.get("_modules", {})
        if "_orig_mod" not in modules or name in OptimizedModule._own:
            object.__setattr__(self, name, value)
            return
        setattr(modules["_orig_mod"], name, value)
        if name == "training":
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._modules["_orig_mod"], name)

    def __len__(self) -> int:
        return len(self._orig_mod)  # type: ignore[arg-type]

    def __iter__(self) -> Any:
        return iter(self._orig_mod)  # type: ignore[call-overload]

    def __getitem__(self, index: Any) -> Any:
        return self._orig_mod[index]  # type: ignore[index]

    def __contains__(self, name: Any) -> bool:
        return name in self._orig_mod  # type: ignore[operator]

    def __reduce__(self) -> Any:
        return (OptimizedModule, (self._orig_mod, self._how))

    def __repr__(self) -> str:
        inner = repr(self._orig_mod).replace("\n", "\n  ")
        return f"OptimizedModule(\n  (_orig_mod): {inner}\n)"


def compile_in_place(module: Module, *args: Any, **kwargs: Any) -> None:
    """`module.compile(...)`: each call of this module is one program from now on."""
    given = {"backend": "inductor", "fullgraph": False, "dynamic": None, "mode": None}
    named = {**given, "options": None, "disable": False, **kwargs}
    _check(named["backend"], named["mode"], named["options"])
    if named.pop("disable") or named["backend"] in ("eager", "aot_eager"):
        return
    how = _options(
        *(named[n] for n in ("backend", "fullgraph", "dynamic", "mode", "options")),
    )
    object.__setattr__(module, "forward", _call(module.forward, how, id(module)))


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Calls within `fn` may be cut into pieces as if nothing had been compiled. Also a decorator."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    if isinstance(fn, OptimizedModule):
        return fn._orig_mod
    original = getattr(fn, "_torchdynamo_orig_callable", fn)
    if isinstance(original, Module):
        return original

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    wrapper._torchdynamo_disable = True  # type: ignore[attr-defined]
    return wrapper


def reset() -> None:
    """Forget every compiled program."""
    epoch[0] += 1
    lowering.cache.clear()
