"""Binding: the only place where declarations become functions, methods, in-place and out= forms."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.grad_mode import mode
from funtorch.methods import METHODS
from funtorch.ops import creation, from_data
from funtorch.ops._declare import TABLE, Declaration
from funtorch.ops.memory import convert
from funtorch.overlap import Turn, turns
from funtorch.overrides import FORWARDERS, KNOWN_AS, SPACES, forwarders_of, overridable
from funtorch.tensor import Tensor, copy_window, dtype_of, from_host, size_of
from funtorch.views import adopt, check_writable, overwrite

Spaces = dict[str, ModuleType]

REFLECTED = {
    "__add__": "add",
    "__sub__": "sub",
    "__mul__": "mul",
    "__truediv__": "true_divide",
    "__floordiv__": "floor_divide",
    "__mod__": "remainder",
    "__pow__": "pow",
    "__matmul__": "matmul",
    "__and__": "bitwise_and",
    "__or__": "bitwise_or",
    "__xor__": "bitwise_xor",
    "__lshift__": "bitwise_left_shift",
    "__rshift__": "bitwise_right_shift",
}
COMPARED = {
    "__eq__": "eq",
    "__ne__": "ne",
    "__lt__": "lt",
    "__le__": "le",
    "__gt__": "gt",
    "__ge__": "ge",
}
METHOD_ONLY = frozenset(
    """absolute add addbmm addcdiv addcmul addmm addr arctan2 atan2 baddbmm bitwise_and
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor copysign cumprod
    cumsum digamma div divide eq erfinv floor_divide fmod ge greater greater_equal gt heaviside
    hypot igamma igammac index_add index_copy index_fill index_reduce le lerp less less_equal
    lgamma logical_and logical_not logical_or logical_xor lt masked_fill masked_scatter mul
    multiply mvlgamma ne nextafter not_equal pow put remainder renorm scatter scatter_add
    scatter_reduce sgn sign sub subtract tril triu true_divide""".split()  # noqa: SIM905
)
"""Ops whose in-place form is a method of Tensor but, in PyTorch, no function."""
UNARY = {"__neg__": "neg", "__pos__": "positive", "__abs__": "abs", "__invert__": "bitwise_not"}


def write_out(result: Any, out: Any, rule: str = "cast") -> Any:
    """Write a result to `out=`, resizing it if it has another shape.

    rule: see `OUT_RULES` of the declarations.
    """
    if isinstance(out, tuple | list):
        written = [
            write_out(r, o, {"cast all": "cast", "any": "any"}.get(rule, "exact"))
            for r, o in zip(result, out, strict=True)
        ]
        return type(result)(*written) if hasattr(result, "_fields") else tuple(written)
    if not isinstance(out, Tensor):
        raise TypeError(f"argument 'out' must be Tensor, not {type(out).__name__}")
    if not isinstance(result, Tensor):
        raise TypeError("this function takes no argument 'out'")
    if mode.enabled and (out._requires or result._requires):
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one "
            "of the arguments requires grad."
        )
    _check_out_dtype(result, out, rule.removesuffix(" all"))
    if out._value.aval.place is not result._value.aval.place:
        raise RuntimeError(
            f"Expected out tensor to be on {result.device}, but it is on {out.device}"
        )
    value = convert(result, dtype_of(out), None)
    if size_of(out) != size_of(value):
        if out.numel():
            warnings.warn(
                f"An output with one or more elements was resized since it had shape "
                f"{list(size_of(out))}, which does not match the required output shape "
                f"{list(size_of(value))}.",
                UserWarning,
                stacklevel=3,
            )
        copy_window(out, value.clone())
        return out
    return adopt(out, value)


creation.write_out.append(write_out)


def _check_out_dtype(result: Tensor, out: Tensor, rule: str) -> None:
    made, wanted = dtype_of(result), dtype_of(out)
    if rule in ("cast", "rounded") and not dtypes.can_cast(made, wanted):
        raise RuntimeError(
            f"result type {_type_word(result)} can't be cast to the desired output type "
            f"{_type_word(out)}"
        )
    if rule == "exact" and made is not wanted:
        raise RuntimeError(
            f"Expected out tensor to have dtype {_type_word(result).lower()}, but got "
            f"{_type_word(out).lower()} instead"
        )


_DOUBLE = {dtypes.float32: dtypes.float64, dtypes.complex64: dtypes.complex128}


def _shows_more(out: Any, result: Tensor) -> bool:
    """Has `out` more digits than a result in single precision?"""
    return isinstance(out, Tensor) and _DOUBLE.get(dtype_of(result)) is dtype_of(out)


def _rounded(
    facade: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], kind: dtypes.dtype
) -> Tensor:
    """The result in single precision, correctly rounded: computed in double precision."""

    def doubled(value: Any) -> Any:
        wide = _DOUBLE.get(dtype_of(value)) if isinstance(value, Tensor) else None
        return value if wide is None else convert(value, wide, None)

    kwargs = {name: doubled(value) for name, value in kwargs.items()}
    return convert(facade(*map(doubled, args), **kwargs), kind, None)


def _check_apart(args: tuple[Any, ...], out: Any) -> None:
    """Refuse an `out` that lies in the memory of an argument."""
    outs = out if isinstance(out, tuple | list) else (out,)
    inputs = [t for a in args for t in (a if isinstance(a, tuple | list) else (a,))]
    if any(_meet(i, o) for i in inputs if isinstance(i, Tensor) for o in outs):
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor "
            "refer to a single memory location. Please clone() the tensor before performing the "
            "operation."
        )


def _meet(one: Tensor, other: Tensor) -> bool:
    """Do the address ranges of two tensors overlap?"""
    if one is other or one._storage is not other._storage:
        return one is other
    first, second = _extent(one), _extent(other)
    return first[0] < second[1] and second[0] < first[1]


def _extent(tensor: Tensor) -> tuple[int, int]:
    start = tensor.storage_offset()
    if 0 in size_of(tensor):
        return start, start
    steps = zip(size_of(tensor), tensor.stride(), strict=True)
    return start, start + 1 + sum((n - 1) * s for n, s in steps)


def _type_word(tensor: Tensor) -> str:
    return METHODS["type"](tensor).rsplit(".", 1)[-1].removesuffix("Tensor")


def with_out(declaration: Declaration) -> Callable[..., Any]:
    """The function form: the facade, and `out=`."""
    rule = declaration.out.removesuffix(" apart")
    apart = rule != declaration.out

    def writer(facade: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = kwargs.pop("out")
        if rule == "dtype" and isinstance(out, Tensor):
            kwargs.setdefault("dtype", dtype_of(out))
        result = facade(*args, **kwargs)
        if out is None:
            return result
        if apart:
            _check_apart(args, out)
        if declaration.single is not None and _shows_more(out, result):
            result = declaration.single(*args, **kwargs)
        elif rule == "rounded" and _shows_more(out, result):
            result = _rounded(facade, args, kwargs, dtype_of(result))
        return write_out(result, out, rule)

    return declaration.form(writer)


def in_place(declaration: Declaration) -> Callable[..., Any]:
    """The form that overwrites its first argument."""
    facade = declaration.facade
    name = f"{declaration.name}_"

    @functools.wraps(facade)
    def changed(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_writable(self)
        stride = self._stride
        for turn in (stride is not None and turns(size_of(self), stride)) or (None,):
            result = _fitting(facade(self, *args, **kwargs), self)
            if turn is not None:
                result = _in_turn(result, self, turn)
            overwrite(self, result)
        return self

    changed.__name__ = changed.__qualname__ = name
    return overridable(changed)


def _fitting(result: Tensor, written: Tensor) -> Tensor:
    """A result in the dtype of the tensor that it is written to. Raises if it does not fit."""
    if size_of(result) != size_of(written):
        raise RuntimeError(
            f"output with shape {list(size_of(written))} doesn't match the broadcast shape "
            f"{list(size_of(result))}"
        )
    kind = dtype_of(written)
    if dtype_of(result) is kind:
        return result
    _check_out_dtype(result, written, "cast")
    return convert(result, kind, None)


def _in_turn(result: Tensor, written: Tensor, turn: Turn) -> Tensor:
    """The contents of a view that shows elements twice after one turn (see `overlap`)."""
    place, present = (from_host(each, device=written.device) for each in turn)
    return TABLE["where"].facade(present, TABLE["take"].facade(result, place), written)


def _binary(name: str) -> Callable[..., Any]:
    facade = TABLE[name].facade

    def operator(self: Tensor, other: Any) -> Any:
        try:
            return facade(self, other)
        except TypeError:
            if _foreign(other):
                return NotImplemented
            raise

    return operator


def _changing(name: str) -> Callable[..., Any]:
    method = in_place(TABLE[name])

    def operator(self: Tensor, other: Any) -> Any:
        return NotImplemented if isinstance(other, np.ndarray) else method(self, other)

    return operator


_DESCRIPTORS = ("add", "mul", "bitwise_and", "bitwise_or", "bitwise_xor", "matmul")
"""Whose reflected forms take tensors only; the others are plain functions in PyTorch."""


def _reflected(name: str) -> Callable[..., Any]:
    facade = TABLE[name].facade
    narrow = name in _DESCRIPTORS

    def operator(self: Tensor, other: Any) -> Any:
        if narrow and not isinstance(self, Tensor):
            raise TypeError(
                f"descriptor '__r{name}__' for 'torch.Tensor' objects doesn't apply to a "
                f"'{type(self).__name__}' object"
            )
        if _foreign(other) or (name == "sub" and not isinstance(self, Tensor)):
            return NotImplemented
        return facade(other, self)

    return operator


def _divided_by(self: Tensor, other: Any) -> Any:
    """other / self, as PyTorch computes it."""
    if _foreign(other) and not isinstance(other, np.ndarray):
        return NotImplemented
    return self.reciprocal() * other


def _foreign(other: Any) -> bool:
    """Of a type whose operators come first? With an array NumPy computes, and gives a tensor."""
    if isinstance(other, Tensor | bool | int | float | complex):
        return False
    return isinstance(other, np.ndarray) or not hasattr(other, "dtype")


def _compared(name: str) -> Callable[..., Any]:
    facade = TABLE[name].facade

    def operator(self: Tensor, other: Any) -> Any:
        if isinstance(other, np.ndarray) and name == "eq":
            other = from_data.as_tensor(other)
        if other is None or _foreign(other):
            return NotImplemented
        return facade(self, other)

    return operator


def bind_operators() -> None:
    """`+`, `+=`, `==`, `-x` and their kin."""
    for dunder, name in REFLECTED.items():
        if name not in TABLE:
            continue
        bare = dunder.strip("_")
        setattr(Tensor, dunder, _binary(name))
        setattr(Tensor, f"__r{bare}__", _reflected(name))
        if name != "matmul":
            setattr(Tensor, f"__i{bare}__", _changing(name))
    Tensor.__rtruediv__ = Tensor.__rdiv__ = _divided_by  # type: ignore[attr-defined]
    for dunder, name in COMPARED.items():
        if name in TABLE:
            setattr(Tensor, dunder, _compared(name))
    for dunder, name in UNARY.items():
        if name in TABLE:
            setattr(Tensor, dunder, TABLE[name].facade)


def _place(space: ModuleType, name: str, function: Callable[..., Any]) -> None:
    """Put a function where users find it; it says so itself, so that it can be pickled by name."""
    setattr(space, name, function)
    function.__module__ = space.__name__
    function.__name__ = function.__qualname__ = name


def _bind(declaration: Declaration, name: str, spaces: Spaces) -> None:
    forms = declaration.forms
    function = with_out(declaration)
    for form, space in (
        ("function", "torch"),
        ("functional", "functional"),
        ("special", "special"),
        ("linalg", "linalg"),
        ("fft", "fft"),
    ):
        if form in forms and space in spaces:
            bare = name.removeprefix(f"{space}_") if space in ("linalg", "fft") else name
            _place(spaces[space], bare, function)
    if "method" in forms:
        setattr(Tensor, name, declaration.facade)
    if "inplace" in forms:
        changed = in_place(declaration)
        if "method" in forms or "function" not in forms:
            setattr(Tensor, f"{name}_", changed)
        if "function" in forms and name not in METHOD_ONLY:
            _place(spaces["torch"], f"{name}_", changed)
        elif "functional" in forms and "functional" in spaces:
            _place(spaces["functional"], f"{name}_", changed)


_PREFIX = {"functional": "nn.functional"}


def bind(spaces: Spaces) -> None:
    """Bind the whole table: functions into the modules, methods into Tensor."""
    for declaration in TABLE.values():
        _bind(declaration, declaration.name, spaces)
        for alias in declaration.aliases:
            space, _, bare = alias.rpartition(".")
            if not space:
                _bind(declaration, bare, spaces)
            elif space == "Tensor":
                setattr(Tensor, bare, declaration.facade)
            elif space in spaces:
                _place(spaces[space], bare, with_out(declaration))
    for name, made in METHODS.items():
        setattr(Tensor, name, made)
    bind_operators()
    KNOWN_AS[TABLE["true_divide"].facade] = TABLE["div"].facade
    FORWARDERS.update(forwarders_of(METHODS))
    SPACES.update({"torch.Tensor": Tensor, "torch": spaces["torch"]})
    SPACES.update({f"torch.{_PREFIX.get(n, n)}": s for n, s in spaces.items() if n != "torch"})
