"""Backends of `torch.compile` by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Backend = Callable[..., Callable[..., Any]]

# Those without a function are XLA (or Python as it is, for 'eager' and 'aot_eager').
_BUILT_IN: dict[str, tuple[str, ...]] = {
    "aot_eager": ("debug",), "eager": ("debug",), "inductor": (), "onnxruntime": (),
}  # fmt: skip
_registered: dict[str, tuple[Backend, tuple[str, ...]]] = {}


class InvalidBackend(RuntimeError):  # noqa: N818  (PyTorch's name)
    """A backend of this name does not exist."""


def register_backend(
    compiler_fn: Backend | None = None, name: str | None = None, tags: Sequence[str] = ()
) -> Any:
    """Give a backend a name for `torch.compile(backend=name)`. Also a decorator.

    A backend takes an `fx.GraphModule` and the tensors that it will be called with, and returns a
    function of such tensors that gives a tuple of results.
    """
    if compiler_fn is None:
        return lambda function: register_backend(function, name, tags)
    if not callable(compiler_fn):
        raise TypeError(f"a backend is a function, not {type(compiler_fn).__name__}")
    name = name or compiler_fn.__name__
    if name in _registered or name in _BUILT_IN:
        raise AssertionError(f"duplicate name: {name}")
    _registered[name] = compiler_fn, tuple(tags)
    return compiler_fn


def lookup_backend(backend: Any) -> Any:
    """The function of a backend; the names of those that are built in stay names.

    Raises InvalidBackend for an unknown name.
    """
    if callable(backend) or backend in _BUILT_IN:
        return backend
    if backend not in _registered:
        raise InvalidBackend(
            f"Invalid backend: {backend!r}, see `torch._dynamo.list_backends()` for available backends."
        )
    return _registered[backend][0]


def list_backends(exclude_tags: Sequence[str] | None = ("debug", "experimental")) -> list[str]:
    """Names that `torch.compile(backend=...)` takes, without those that carry one of these tags."""
    tags = {**_BUILT_IN, **{name: own for name, (_, own) in _registered.items()}}
    return sorted(n for n, own in tags.items() if not set(own) & set(exclude_tags or ()))
