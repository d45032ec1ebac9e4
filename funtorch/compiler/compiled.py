"""`torch.compile`: a call whose ops are compiled as one program.

Every program is recorded and compiled here anyway, a whole training step at a time, and a changed
signature or path through the Python code is a new trace of its own; so there are no graph breaks. What
`compile` adds is that the call is never cut into pieces, not even the first time, and that without
gradients it need not be recorded again as long as its guards hold (`guarded`).
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from funtorch import lowering
from funtorch.compiler.guarded import MISSED, Guarded, epoch
from funtorch.compiler.state import within
from funtorch.grad_mode import mode as grad_mode
from funtorch.nn.module import Module

BACKENDS = ("aot_eager", "eager", "inductor", "onnxruntime")
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


class InvalidBackend(RuntimeError):  # noqa: N818  (PyTorch's name)
    """A backend of this name does not exist."""


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

    fullgraph, dynamic and options are accepted and change nothing: there are no graph breaks, and
    each shape has its own program. backend 'eager' and 'aot_eager' leave the call as it is, XLA is
    behind 'inductor', and 'onnxruntime' runs a module's inference on the CPU in that library. A
    callable is no backend here (there is no FX graph): TypeError.
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
    return OptimizedModule(model, backend) if isinstance(model, Module) else _call(model, backend)


def _call(function: Any, backend: str, label: Any = None) -> Callable[..., Any]:
    """The function as this backend calls it."""
    if backend != "onnxruntime":
        return _compiled(function, backend not in ("eager", "aot_eager"), label)
    if not isinstance(function, Module):
        raise TypeError(f"backend='onnxruntime' takes an nn.Module, not {type(function)}")
    # It stands above this file: it exports what it is given.
    return importlib.import_module("funtorch.compiler.onnxruntime").compiled(function)


def _check(backend: Any, mode: str | None, options: Any) -> None:
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if callable(backend):
        raise TypeError(
            "torch.compile: a function as backend would need an FX graph, which does not exist "
            f"here; backends are {', '.join(BACKENDS)}"
        )
    if backend not in BACKENDS:
        raise InvalidBackend(f"Invalid backend: {backend!r}, see `torch._dynamo.list_backends()`")


def _compiled(function: Callable[..., Any], whole: bool, label: Any = None) -> Any:
    label = ("compiled", id(function) if label is None else label)
    name = getattr(function, "__qualname__", type(function).__name__)
    guarded = Guarded(function, (label, name)) if whole else None

    @functools.wraps(function, updated=() if not inspect.isfunction(function) else ("__dict__",))
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if guarded is not None and (found := guarded(args, kwargs)) is not MISSED:
            return found
        with within("compiling"), lowering.scope(label, name, whole=whole):
            result = function(*args, **kwargs)
        if not grad_mode.enabled:
            lowering.flush()
        return result

    wrapper._torchdynamo_orig_callable = function  # type: ignore[attr-defined]
    return wrapper


class OptimizedModule(Module):
    """What `torch.compile(module)` returns: the module, each call of it one program."""

    _orig_mod: Module
    _own = frozenset(("_orig_mod", "_backend", "_forward_once"))

    def __init__(self, module: Module, backend: str = "inductor") -> None:
        super().__init__()
        self._modules["_orig_mod"] = module
        object.__setattr__(self, "_backend", backend)
        object.__setattr__(self, "training", module.training)
        object.__setattr__(self, "_forward_once", _call(module, backend, id(module)))

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
        return (OptimizedModule, (self._orig_mod, self._backend))

    def __repr__(self) -> str:
        inner = repr(self._orig_mod).replace("\n", "\n  ")
        return f"OptimizedModule(\n  (_orig_mod): {inner}\n)"


def compile_in_place(module: Module, *args: Any, **kwargs: Any) -> None:
    """`module.compile(...)`: each call of this module is one program from now on."""
    _check(kwargs.get("backend", "inductor"), kwargs.get("mode"), kwargs.get("options"))
    backend = kwargs.get("backend", "inductor")
    if kwargs.get("disable") or backend in ("eager", "aot_eager"):
        return
    forward = module.forward
    object.__setattr__(module, "forward", _call(forward, backend, id(module)))


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


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """Names that `torch.compile(backend=...)` takes."""
    return ["inductor", "onnxruntime"] if exclude_tags else list(BACKENDS)
