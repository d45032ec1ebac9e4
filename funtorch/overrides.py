"""`torch.overrides`: how types of one's own take part in calls (`__torch_function__`, PyTorch RFC 1).

Every public function asks whether an argument's type overrides it. That must cost nothing where no
such type exists: `watch.on` stays False until a subclass of Tensor is declared, a mode is entered, or
a foreign type with `__torch_function__` is met. Sparse and nested tensors come in by the same door.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = [
    "TorchFunctionMode",
    "get_default_nowrap_functions",
    "handle_torch_function",
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
    "is_tensor_like",
    "is_tensor_method_or_property",
    "resolve_name",
    "wrap_torch_function",
]


class _Watch:
    """on: may any argument override? A plain attribute, since every op reads it."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False


class _State(threading.local):
    """What is in force in this thread: modes, innermost last, and whether subclasses take part."""

    def __init__(self) -> None:
        self.modes: list[TorchFunctionMode] = []
        self.subclasses = True
        self.everything = True


watch = _Watch()
state = _State()
PLAIN: set[type] = {
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type(...),
    slice,
    range,
    dict,
}
"""Types that are known not to override."""

LAYOUTS: set[type] = set()
"""Tensors that are not strided. They are no subclasses in a user's sense: nothing disables them."""


KNOWN_AS: dict[Any, Any] = {}
"""Functions that go by the name of another: `x / y` is `Tensor.div`."""


def no_override(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """As `__torch_function__` of a class: it takes no part (`_disabled_torch_function_impl`)."""
    return func(*args, **(kwargs or {}))


def overrides(kind: type) -> bool:
    """Does a type take part? A type that does turns the watch on."""
    if kind in PLAIN:
        return False
    handler = getattr(kind, "__torch_function__", None)
    if handler is None or handler is no_override:
        PLAIN.add(kind)
        return False
    watch.on = True
    return True


def overriding(args: Iterable[Any], kwargs: dict[str, Any]) -> list[Any] | None:
    """The arguments that override, one per type, subclasses before their bases.

    None: neither they nor a mode must be asked. Lists and tuples are looked into.
    """
    found: list[Any] = []
    if state.everything:
        _collect(args, found)
        if kwargs:
            _collect(kwargs.values(), found)
        if state.modes:
            return found
    return found or None


def _collect(values: Iterable[Any], found: list[Any]) -> None:
    for value in values:
        kind = type(value)
        if kind in PLAIN:
            continue
        if kind is list or kind is tuple:
            _collect(value, found)
        elif isinstance(value, type) or not overrides(kind):
            continue
        elif (state.subclasses or kind in LAYOUTS) and all(type(f) is not kind for f in found):
            at = next((i for i, f in enumerate(found) if issubclass(kind, type(f))), len(found))
            found.insert(at, value)


def override(
    func: Callable[..., Any], found: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Let the innermost mode, then the arguments' types in turn, carry out a call.

    Raises TypeError if all of them decline.
    """
    func = KNOWN_AS.get(func, func)
    types = tuple([type(value) for value in found])
    if state.modes:
        mode = state.modes.pop()
        try:
            result = mode.__torch_function__(func, types, args, kwargs)
        finally:
            state.modes.append(mode)
        if result is not NotImplemented:
            return result
    for value in found:
        result = value.__torch_function__(func, types, args, kwargs)
        if result is not NotImplemented:
            return result
    declined = "\n".join(f"  - tensor subclass {kind}" for kind in types)
    raise TypeError(
        f"Multiple dispatch failed for '{resolve_name(func) or getattr(func, '__name__', func)}'; "
        f"all __torch_function__ handlers returned NotImplemented:\n\n{declined}\n\n"
        "For more information, try re-running with TORCH_LOGS=not_implemented"
    )


def overridable(
    body: Callable[..., Any],
    named: Callable[..., Any] | None = None,
    known_as: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """The public form of a function.

    named(args, kwargs): called instead if there are keywords. known_as: what handlers are told that
    was called, by default the public form itself.
    """

    @functools.wraps(body)
    def public(*args: Any, **kwargs: Any) -> Any:
        ask = watch.on
        if not ask:
            for value in (*args, *kwargs.values()) if kwargs else args:
                if type(value) not in PLAIN:
                    ask = True
                    break
        if ask:
            found = overriding(args, kwargs)
            if found is not None:
                return override(known_as or public, found, args, kwargs)
        if kwargs and named is not None:
            return named(args, kwargs)
        return body(*args, **kwargs)

    return public


# Tensor and its subclasses ----------------------------------------------------------------------

TENSOR: list[Any] = []
"""The class Tensor; `tensor`, which stands above, puts it here."""

FORWARDERS: dict[str, Any] = {}
"""For each method and property that is no op: the same, asking `__torch_function__` first."""

_SILENT = {"__hash__", "__format__", "__array_wrap__", "__dlpack_device__", "__jax_array__"}


def forwarders_of(methods: dict[str, Any]) -> dict[str, Any]:
    """See `FORWARDERS`."""
    return {
        name: _forwarded_property(made)
        if isinstance(made, property)
        else overridable(made, known_as=made)
        for name, made in methods.items()
        if name not in _SILENT and (not name.startswith("_") or name.startswith("__"))
    }


def _forwarded_property(plain: property) -> property:
    def forwarded(part: str) -> Any:
        function = getattr(plain, f"__{part}__")

        def accessor(*args: Any) -> Any:
            found = overriding(args[:1], {})
            return function(*args) if found is None else override(function, found, args, {})

        return accessor

    write = None if plain.fset is None else forwarded("set")
    clear = None if plain.fdel is None else forwarded("delete")
    return property(forwarded("get"), write, clear, plain.__doc__)


def declared(cls: type) -> None:
    """A subclass of Tensor was declared: if it takes part, its methods ask first."""
    if not overrides(cls):
        return
    base = TENSOR[0]
    for name, forwarder in FORWARDERS.items():
        if getattr(cls, name) is getattr(base, name):
            setattr(cls, name, forwarder)


def default_torch_function(
    cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None
) -> Any:
    """`Tensor.__torch_function__`: the function itself, its tensors made instances of `cls`."""
    if not all(issubclass(cls, kind) for kind in types):
        return NotImplemented
    with DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
    return result if func in _unwrapped() else _as_instances(result, cls)


@functools.cache
def _unwrapped() -> set[Any]:
    tensor = TENSOR[0]
    return {tensor.grad.__get__, tensor._base.__get__}


def _as_instances(result: Any, cls: type) -> Any:
    if isinstance(result, TENSOR[0]):
        return result if isinstance(result, cls) else result.as_subclass(cls)
    if isinstance(result, tuple | list):
        parts = [_as_instances(part, cls) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


class _Without:
    """A context in which something in `state` is off."""

    what: str

    def __enter__(self) -> None:
        self._before = getattr(state, self.what)
        setattr(state, self.what, False)

    def __exit__(self, *exc: object) -> None:
        setattr(state, self.what, self._before)


class DisableTorchFunctionSubclass(_Without):
    """Within it no subclass's `__torch_function__` is asked; modes are."""

    what = "subclasses"


class DisableTorchFunction(_Without):
    """Within it neither subclasses nor modes are asked."""

    what = "everything"


# Modes ----------------------------------------------------------------------------------------


class TorchFunctionMode:
    """A context whose `__torch_function__` is asked for every call, with or without tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """To be written by the subclass. Within it the mode itself is off."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        watch.on = True
        state.modes.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        state.modes.pop()


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function."""
        return func(*args, **(kwargs or {}))


# For functions of one's own ---------------------------------------------------------------------


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Does one of these override, or is a mode on?"""
    return overriding(relevant_args, {}) is not None


def has_torch_function_unary(value: Any) -> bool:
    """Does this override, or is a mode on?"""
    return overriding((value,), {}) is not None


def has_torch_function_variadic(*values: Any) -> bool:
    """Does one of these override, or is a mode on?"""
    return overriding(values, {}) is not None


def handle_torch_function(
    public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """Let the overriding ones among `relevant_args` carry out `public_api(*args, **kwargs)`."""
    return override(public_api, overriding(relevant_args, {}) or [], args, kwargs)


def wrap_torch_function(dispatcher: Callable[..., Iterable[Any]]) -> Callable[..., Any]:
    """Decorator: the function may be overridden; dispatcher(*args) names the arguments to ask."""

    def decorate(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            found = overriding(dispatcher(*args, **kwargs), {})
            if found is None:
                return func(*args, **kwargs)
            return override(wrapped, found, args, kwargs)

        return wrapped

    return decorate


def is_tensor_like(inp: Any) -> bool:
    """A tensor, or of a type with `__torch_function__`?"""
    return type(inp) is TENSOR[0] or hasattr(inp, "__torch_function__")


def is_tensor_method_or_property(func: Callable[..., Any]) -> bool:
    """Is it a method of Tensor, or the `__get__` of a property?"""
    if getattr(func, "__name__", None) == "__get__":
        return True
    base = TENSOR[0]
    return any(vars(base).get(name) is func for name in (getattr(func, "__name__", ""),))


def get_default_nowrap_functions() -> set[Any]:
    """What `Tensor.__torch_function__` returns as it is: the `__get__` of `grad` and `_base`."""
    return set(_unwrapped())


SPACES: dict[str, Any] = {}
"""The namespaces of public functions by their name, in the order in which a name is looked up."""


def resolve_name(f: Any) -> str | None:
    """The public name of a function: 'torch.add', 'torch.Tensor.add'; None if it has none."""
    owner = getattr(f, "__self__", None)
    for prefix, space in SPACES.items():
        if isinstance(owner, property):
            for name, value in vars(space).items():
                if value is owner:
                    return f"{prefix}.{name}.{f.__name__}"
            continue
        short = getattr(f, "__name__", "")
        if vars(space).get(short) is f:
            return f"{prefix}.{short}"
        for name, value in vars(space).items():
            if value is f:
                return f"{prefix}.{name}"
    return None
