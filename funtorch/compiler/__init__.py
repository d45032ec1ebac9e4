"""torch.compiler: around `torch.compile`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from funtorch.compiler.compiled import (
    OptimizedModule,
    compile,
    compile_in_place,
    disable,
    reset,
)
from funtorch.compiler.registry import InvalidBackend, list_backends
from funtorch.compiler.state import is_compiling, is_exporting
from funtorch.nn.module import Module

Module.compile = compile_in_place  # type: ignore[attr-defined]

is_dynamo_compiling = is_compiling


def allow_in_graph(fn: Any) -> Any:
    """The function itself: everything is recorded here."""
    return fn


def assume_constant_result(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself: its Python runs at each call, so nothing need be assumed."""
    return fn


def nested_compile_region(fn: Any = None, options: Any = None) -> Any:
    """The function itself; also a decorator with arguments."""
    return (lambda f: f) if fn is None else fn


def cudagraph_mark_step_begin() -> None:
    """A new step begins: nothing to do, since no memory is reused behind a tensor's back."""


_STANCES = (
    "default",
    "force_eager",
    "eager_on_recompile",
    "fail_on_recompile",
    "eager_then_compile",
)


@contextlib.contextmanager
def _stance(kind: str) -> Iterator[None]:
    from funtorch.lowering import execution_mode

    with execution_mode("eager") if kind == "force_eager" else contextlib.nullcontext():
        yield


def set_stance(stance: str = "default", *, skip_guard_eval_unsafe: bool = False) -> Any:
    """A context in which 'force_eager' executes op by op; 'default' changes nothing.

    Raises NotImplementedError for the stances about recompilation.
    """
    if stance not in _STANCES:
        raise RuntimeError(f"invalid torch.compile stance {stance!r}")
    if stance not in ("default", "force_eager"):
        raise NotImplementedError(f"set_stance({stance!r}): 'default' and 'force_eager' exist")
    return _stance(stance)


__all__ = [
    "InvalidBackend",
    "OptimizedModule",
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "cudagraph_mark_step_begin",
    "disable",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "list_backends",
    "nested_compile_region",
    "reset",
    "set_stance",
]
