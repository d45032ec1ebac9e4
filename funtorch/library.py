"""torch.library: ops of one's own. A kernel is Python on tensors; it is recorded like any code.

@torch.library.custom_op("shop::scaled", mutates_args=())
def scaled(x: torch.Tensor, k: float) -> torch.Tensor: ...

scaled.register_autograd(backward, setup_context=setup)
torch.ops.shop.scaled(x, 2.0)
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from funtorch import ops
from funtorch.autograd.function import Function
from funtorch.func.pure import record_whole
from funtorch.grad_mode import no_grad
from funtorch.tensor import Tensor

__all__ = [
    "CustomOpDef",
    "Library",
    "custom_op",
    "define",
    "impl",
    "register_autograd",
    "register_fake",
    "register_kernel",
]

Kernel = Callable[..., Any]

_whole: list[Collection[str]] = [()]


@contextlib.contextmanager
def kept_whole(names: Collection[str]) -> Iterator[None]:
    """Within, custom ops of these names are recorded as one op each, not as what they are made of."""
    _whole.append(names)
    try:
        yield
    finally:
        _whole.pop()


class CustomOpDef:
    """An op: a kernel per kind of device ('' for all), one for `meta`, and a gradient."""

    def __init__(self, name: str, signature: inspect.Signature | None) -> None:
        self._qualname = name
        self._signature = signature
        self._kernels: dict[str, Kernel] = {}
        self._fake: Kernel | None = None
        self._function: type[Function] | None = None

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    @property
    def name(self) -> str:
        """'namespace::name'"""
        return self._qualname

    @property
    def default(self) -> CustomOpDef:
        """The one overload: the op itself."""
        return self

    def register_kernel(self, device_types: Any, func: Kernel | None = None, /) -> Any:
        """Another kernel for these kinds of devices ('cpu', 'cuda'); None for all. A decorator."""
        kinds = [device_types] if isinstance(device_types, str) else device_types or [""]

        def register(kernel: Kernel) -> Kernel:
            self._kernels.update(dict.fromkeys((kind.lower() for kind in kinds), kernel))
            return kernel

        return register if func is None else register(func)

    def register_fake(self, fn: Kernel, /) -> Kernel:
        """What gives tensors on `meta` their shapes. A decorator."""
        self._fake = fn
        return fn

    def register_autograd(
        self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """The gradient: backward(ctx, *grads) -> one per argument. setup_context(ctx, inputs, output)."""
        op = self

        class OfThisOp(Function):
            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                with no_grad():
                    made = op._run(args)
                if setup_context is not None:
                    setup_context(ctx, args, made)
                return made

        OfThisOp.backward = staticmethod(backward)  # type: ignore[method-assign]
        OfThisOp.__name__ = OfThisOp.__qualname__ = self._qualname.replace("::", "_")
        self._function = OfThisOp

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._signature is not None:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        if kwargs:
            raise NotImplementedError(f"{self._qualname}: keyword-only arguments")
        if self._function is None:
            self.register_autograd(self._no_backward)
        assert self._function is not None
        return self._function.apply(*args)

    def _no_backward(self, ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            f"Trying to backward through {self._qualname}.default but no autograd formula was "
            "registered. Please use register_autograd to add one."
        )

    def _run(self, args: tuple[Any, ...]) -> Any:
        tensors = [t for a in args for t in (a if isinstance(a, list | tuple) else [a])]
        kind = next((t.device.type for t in tensors if isinstance(t, Tensor)), "cpu")
        if kind == "meta":
            if self._fake is None:
                raise RuntimeError(
                    f"There was no fake impl registered for {self!r}. Please use register_fake to "
                    "say what shapes its results have."
                )
            return self._fake(*args)
        kernel = self._kernels.get(kind) or self._kernels.get("")
        if kernel is None:
            raise NotImplementedError(
                f"Could not run '{self._qualname}' on {kind}: it has kernels for "
                f"{sorted(self._kernels)}"
            )
        if self._qualname in _whole[-1]:
            return record_whole(self._qualname, kernel, args)
        made = kernel(*args)
        if any(made is t for t in tensors if isinstance(t, Tensor)):
            raise RuntimeError(
                f"{self._qualname}: the result must not be an input itself; return a clone"
            )
        return made


_registry: dict[str, CustomOpDef] = {}


_early_fakes: dict[str, Kernel] = {}
"""Shapes of ops that are not declared yet, and perhaps never will be: a package registers them also
when the library that would declare its ops could not be loaded."""


def _declared(name: str, signature: inspect.Signature | None) -> CustomOpDef:
    space, separator, bare = name.partition("::")
    if not (space and separator and bare):
        raise ValueError(f"an op's name has the form 'namespace::name', got {name!r}")
    found = _registry[name] = CustomOpDef(name, signature)
    found._fake = _early_fakes.pop(name, None)
    if not hasattr(ops, space):
        setattr(ops, space, SimpleNamespace())
    setattr(getattr(ops, space), bare, found)
    return found


def _found(op: Any) -> CustomOpDef:
    if isinstance(op, CustomOpDef):
        return op
    if op not in _registry:
        raise RuntimeError(f"there is no op {op!r}; define it first")
    return _registry[op]


def custom_op(
    name: str,
    fn: Kernel | None = None,
    /,
    *,
    mutates_args: str | Iterable[str],
    device_types: Any = None,
    schema: str | None = None,
    tags: Any = None,
) -> Any:
    """Make a function an op, `torch.ops.namespace.name`. A decorator.

    The parameters need annotations, as in PyTorch; ValueError if one lacks it.
    """

    def declare(function: Kernel) -> CustomOpDef:
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            if schema is None and parameter.annotation is inspect.Parameter.empty:
                raise ValueError(
                    f"infer_schema(func): Parameter {parameter.name} must have a type annotation. "
                    f"Got func with signature {signature})"
                )
        made = _declared(name, signature)
        made.register_kernel(device_types, function)
        return made

    return declare if fn is None else declare(fn)


def define(qualname: str, schema: str, *, lib: Any = None, tags: Any = ()) -> None:
    """Declare an op by a schema such as '(Tensor x) -> Tensor'; `impl` gives it kernels.

    Raises RuntimeError if there is one of that name.
    """
    if qualname in _registry:
        raise RuntimeError(f"Tried to register an operator ({qualname}) multiple times.")
    _declared(qualname, None)


def impl(qualname: str, types: Any, func: Kernel | None = None, *, lib: Any = None) -> Any:
    """A kernel for kinds of devices ('default' for all). A decorator."""
    kinds = [types] if isinstance(types, str) else list(types)
    return _found(qualname).register_kernel([_kind(k) for k in kinds], func)


def _kind(key: str) -> str:
    """The kind of device of a dispatch key: 'CUDA' -> 'cuda', 'CompositeExplicitAutograd' -> ''."""
    return "" if key == "default" or key.startswith("Composite") else key.lower()


def register_kernel(op: Any, device_types: Any, func: Kernel | None = None, /, **rest: Any) -> Any:
    """`op.register_kernel`, by name or by the op. A decorator."""
    return _found(op).register_kernel(device_types, func)


def register_fake(op: Any, func: Kernel | None = None, /, **rest: Any) -> Any:
    """`op.register_fake`, by name or by the op, which may be declared later. A decorator."""

    def register(fn: Kernel) -> Kernel:
        if isinstance(op, str) and op not in _registry:
            _early_fakes[op] = fn
            return fn
        return _found(op).register_fake(fn)

    return register if func is None else register(func)


def register_autograd(
    op: Any,
    backward: Callable[..., Any],
    /,
    *,
    setup_context: Callable[..., Any] | None = None,
    lib: Any = None,
) -> None:
    """`op.register_autograd`, by name or by the op."""
    _found(op).register_autograd(backward, setup_context=setup_context)


class Library:
    """Ops of one namespace: `Library("shop", "DEF").define("f(Tensor x) -> Tensor")`."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        if kind not in ("DEF", "IMPL", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Declare an op; returns its name."""
        name, _, rest = schema.partition("(")
        define(f"{self.ns}::{name}", f"({rest}")
        return name

    def impl(
        self, op_name: Any, fn: Kernel, dispatch_key: str = "", *, with_keyset: bool = False
    ) -> None:
        """A kernel for a dispatch key; 'Meta' is what gives shapes."""
        found = _found(f"{self.ns}::{str(op_name).rpartition('::')[2]}")
        key = dispatch_key or self.dispatch_key or "CompositeExplicitAutograd"
        if key == "Meta":
            found.register_fake(fn)
        else:
            found.register_kernel([_kind(key)], fn)
