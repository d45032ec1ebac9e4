"""Signatures: how the arguments of a call become tensors, scalars and static values.

The annotation of a parameter says what it is; the text counts, nothing is evaluated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.dispatch import exact
from funtorch.ops._promote import TracedScalar, promoted_dtype
from funtorch.tensor import Tensor

(TENSOR, OPT_TENSOR, TENSOR_OR_NUMBER, NUMBER, TENSORS, DTYPE, STATIC) = range(7)

_KINDS = {
    "Array": TENSOR,
    "Array | None": OPT_TENSOR,
    "Array | Scalar": TENSOR_OR_NUMBER,
    "Array | Scalar | None": TENSOR_OR_NUMBER,
    "Scalar | Array": TENSOR_OR_NUMBER,
    "Scalar": NUMBER,
    "Scalar | None": NUMBER,
    "list[Array]": TENSORS,
    "list[Array | None]": TENSORS,
    "list[Array] | None": TENSORS,
    "Dtype": DTYPE,
    "Dtype | None": DTYPE,
}

T, S = "tensor", "number"  # marks in the statics of a call

_SIMPLE = frozenset((bool, int, float, str))  # static values that are hashable as they are


class Parameter:
    """One parameter of an op: its name, kind and default."""

    __slots__ = ("annotation", "default", "keyword_only", "kind", "name", "nullable")

    def __init__(self, parameter: inspect.Parameter) -> None:
        self.name = parameter.name
        self.annotation = str(parameter.annotation)
        self.kind = _KINDS.get(self.annotation, STATIC)
        self.default = parameter.default
        self.keyword_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        self.nullable = "None" in self.annotation or parameter.default is None

    @property
    def required(self) -> bool:
        """Has no default."""
        return self.default is inspect.Parameter.empty


class Signature:
    """All parameters of an op, and the two directions: splitting a call, and joining it again."""

    def __init__(self, name: str, body: Callable[..., Any], varargs: str | None) -> None:
        self.name = name
        self.parameters = [Parameter(p) for p in inspect.signature(body).parameters.values()]
        self.positional = [p for p in self.parameters if not p.keyword_only]
        self.index = {p.name: i for i, p in enumerate(self.parameters)}
        self.varargs = varargs
        self.varargs_at = self.index[varargs] if varargs else -1
        self._kinds = [(p.kind, p) for p in self.parameters]

    # Binding ------------------------------------------------------------------------------------

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """One value per parameter. Raises TypeError as Python and PyTorch do."""
        at = self.varargs_at
        if at >= 0 and len(args) > at and _is_int_like(args[at]):
            if len(args) > at + 1 and _is_int_like(args[-1]):
                args = (*args[:at], tuple(args[at:]))
            elif self.parameters[at].annotation == "Size":
                args = (*args[:at], (args[at],), *args[at + 1 :])
        elif (
            at >= 0
            and len(args) == at
            and self.parameters[at].name not in kwargs
            and (self.parameters[at].required)
        ):
            args = (*args, ())
        if len(args) > len(self.positional):
            raise TypeError(
                f"{self.name}() takes {len(self.positional)} positional arguments but "
                f"{len(args)} were given"
            )
        bound = list(args)
        for parameter in self.parameters[len(args) :]:
            if kwargs and parameter.name in kwargs:
                bound.append(kwargs.pop(parameter.name))
            elif parameter.default is not inspect.Parameter.empty:
                bound.append(parameter.default)
            else:
                bound.append(self._renamed(parameter, kwargs))
        if kwargs:
            self._refuse(kwargs)
        return bound

    def completions(self) -> dict[int, tuple[Any, ...]]:
        """By number of positional arguments, the defaults that complete a call without keywords.

        A call whose number is not here has to be bound with care.
        """
        if self.varargs_at >= 0:
            return {}
        defaults = [p.default for p in self.parameters]
        return {
            given: tuple(defaults[given:])
            for given in range(len(self.positional) + 1)
            if all(p.default is not inspect.Parameter.empty for p in self.parameters[given:])
        }

    def _renamed(self, parameter: Parameter, kwargs: dict[str, Any]) -> Any:
        """NumPy's names for arguments, which PyTorch takes too."""
        for theirs, ours in (
            ("input", "self"),
            ("A", "self"),
            ("axis", "dim"),
            ("x", "self"),
            ("x2", "other"),
        ):
            if parameter.name == ours and theirs in kwargs:
                return kwargs.pop(theirs)
        raise TypeError(
            f'{self.name}() missing 1 required positional arguments: "{_shown(parameter.name)}"'
        )

    def _refuse(self, kwargs: dict[str, Any]) -> None:
        name = next(iter(kwargs))
        if name in self.index:
            raise TypeError(f"{self.name}() got multiple values for argument '{name}'")
        raise TypeError(f"{self.name}() got an unexpected keyword argument '{name}'")

    def rename(self, kwargs: dict[str, Any]) -> None:
        """Bring NumPy's and PyTorch's alternative argument names to ours."""
        if "input" in kwargs and "self" in self.index and "input" not in self.index:
            kwargs["self"] = kwargs.pop("input")
        if "axis" in kwargs and "dim" in self.index:
            kwargs["dim"] = kwargs.pop("axis")
        if "keepdims" in kwargs and "keepdim" in self.index:
            kwargs["keepdim"] = kwargs.pop("keepdims")

    # Splitting ----------------------------------------------------------------------------------

    def split(self, bound: Sequence[Any]) -> tuple[tuple[Any, ...], list[Tensor], list[Any]]:
        """(statics, tensors, numbers): the same call in the terms of the recorder."""
        statics: list[Any] = []
        tensors: list[Tensor] = []
        numbers: list[Any] = []
        for (kind, parameter), value in zip(self._kinds, bound, strict=True):
            if kind <= TENSOR_OR_NUMBER and isinstance(value, Tensor):
                tensors.append(value)
                statics.append(T)
            elif kind == STATIC:
                simple = value is None or type(value) in _SIMPLE
                statics.append(value if simple else _hashable(value))
            elif value is None and (parameter.nullable or kind == DTYPE):
                statics.append(None)
            elif kind in (TENSOR_OR_NUMBER, NUMBER):
                numbers.append(self._number(parameter, value))
                statics.append(S)
            elif kind == TENSORS:
                statics.append(self._tensors(parameter, value, tensors))
            elif kind == DTYPE:
                statics.append(_numpy_dtype(self.name, parameter.name, value))
            else:
                self._not_a_tensor(parameter, value)
        return tuple(statics), tensors, numbers

    def _number(self, parameter: Parameter, value: Any) -> Any:
        if type(value) in (int, float, bool, complex):
            return exact(value)
        if isinstance(value, Tensor | np.generic):
            return exact(value.item())
        if isinstance(value, bool | int | float | complex):
            return value
        if hasattr(value, "__index__"):
            return value.__index__()
        if hasattr(value, "__float__") and not isinstance(value, str):
            return float(value)
        return self._not_a_tensor(parameter, value)

    def _not_a_tensor(self, parameter: Parameter, value: Any) -> Any:
        wanted = {
            TENSOR: "Tensor",
            OPT_TENSOR: "Tensor",
            TENSOR_OR_NUMBER: "Tensor or Number",
            NUMBER: "Number",
            TENSORS: "tuple of Tensors",
        }[parameter.kind]
        position = self.index[parameter.name] + 1
        raise TypeError(
            f"{self.name}(): argument '{_shown(parameter.name)}' (position {position}) must be "
            f"{wanted}, not {type(value).__name__}"
        )

    def _tensors(self, parameter: Parameter, value: Any, tensors: list[Tensor]) -> Any:
        if not isinstance(value, list | tuple):
            self._not_a_tensor(parameter, value)
        marks = []
        for i, item in enumerate(value):
            if isinstance(item, Tensor):
                tensors.append(item)
                marks.append(T)
            elif item is None and "None" in parameter.annotation:
                marks.append(None)
            else:
                raise TypeError(
                    f"expected Tensor as element {i} in argument "
                    f"{self.index[parameter.name]}, but got {type(item).__name__}"
                )
        return tuple(marks)

    # Joining ------------------------------------------------------------------------------------

    def join(self, statics: Sequence[Any], arrays: Sequence[Any], numbers: Sequence[Any]) -> list:
        """One value per parameter again, for the lowering: arrays for tensors."""
        array, number = iter(arrays), iter(numbers)
        out: list[Any] = []
        for parameter, static in zip(self.parameters, statics, strict=True):
            kind = parameter.kind
            if kind in (STATIC, DTYPE) or static is None:
                out.append(static)
            elif kind == TENSORS:
                out.append([next(array) if mark is T else None for mark in static])
            elif static is T:
                out.append(next(array))
            else:
                out.append(next(number))
        return out

    def promote(self, rule: str, values: list[Any], default: dtypes.dtype) -> np.dtype[Any]:
        """Cast the operands among `values`, in place, to their common dtype; returns it."""
        places = [
            i
            for i, (p, v) in enumerate(zip(self.parameters, values, strict=True))
            if p.kind in (TENSOR, OPT_TENSOR, TENSOR_OR_NUMBER) and v is not None
        ]
        lists = [
            i
            for i, (p, v) in enumerate(zip(self.parameters, values, strict=True))
            if p.kind == TENSORS and v
        ]
        operands = [values[i] for i in places] + [v for i in lists for v in values[i]]
        dtype = promoted_dtype(rule, operands, default).numpy
        for i in places:
            values[i] = _cast(values[i], dtype)
        for i in lists:
            values[i] = [_cast(v, dtype) for v in values[i]]
        return dtype

    def saved_inputs(self, names: Sequence[str], statics: Sequence[Any]) -> tuple[int, ...]:
        """Indices among the tensors of a call of those that the named parameters brought."""
        indices: list[int] = []
        count = 0
        for parameter, static in zip(self.parameters, statics, strict=True):
            if parameter.kind in (STATIC, DTYPE):
                continue
            marks = static if parameter.kind == TENSORS and static is not None else (static,)
            for mark in marks:
                if mark is T:
                    if parameter.name in names:
                        indices.append(count)
                    count += 1
        return tuple(indices)


def _shown(name: str) -> str:
    return "input" if name == "self" else name


def _is_int_like(value: Any) -> bool:
    return isinstance(value, int | np.integer) or (
        isinstance(value, Tensor) and value.ndim == 0 and not value.is_floating_point()
    )


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple([_hashable(v) for v in value])
    if isinstance(value, Tensor | np.generic):
        return value.item()
    if isinstance(value, dtypes.dtype):
        return value.numpy
    return value


def _numpy_dtype(op: str, name: str, value: Any) -> Any:
    if isinstance(value, dtypes.dtype):
        return value.numpy
    if value in (bool, int, float, complex):
        return {
            bool: dtypes.bool_,
            int: dtypes.int64,
            float: dtypes.get_default_dtype(),
            complex: dtypes.get_default_dtype().to_complex(),
        }[value].numpy
    raise TypeError(f"{op}(): argument '{name}' must be torch.dtype, not {type(value).__name__}")


def _cast(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(value, TracedScalar):
        return value.array.astype(dtype)
    if isinstance(value, bool | int | float | complex):
        return value
    return value if value.dtype == dtype else value.astype(dtype)
