"""assert_close: are two tensors, numbers, or nested collections of them equal enough?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from funtorch import dtypes
from funtorch.composed import Composed
from funtorch.dispatch import to_host
from funtorch.tensor import Tensor, dtype_of, from_host, size_of

_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}
"""Relative and absolute tolerance by type; all other types are compared exactly."""

Message = str | Callable[[str], str] | None


class _Rules:
    def __init__(self, options: dict[str, Any]) -> None:
        self.rtol: float | None = options["rtol"]
        self.atol: float | None = options["atol"]
        self.equal_nan: bool = options["equal_nan"]
        self.check_device: bool = options["check_device"]
        self.check_dtype: bool = options["check_dtype"]
        self.check_layout: bool = options["check_layout"]
        self.check_stride: bool = options["check_stride"]
        self.allow_subclasses: bool = options["allow_subclasses"]

    def tolerances(self, kinds: Sequence[dtypes.dtype]) -> tuple[float, float]:
        """The widest of the kinds' tolerances, unless given."""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        known = [_TOLERANCES.get(kind.name, (0.0, 0.0)) for kind in kinds]
        return max(k[0] for k in known), max(k[1] for k in known)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Message = None,
) -> None:
    """Raise AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere.

    Sequences and mappings are compared element by element. Both tolerances or none are given.
    """
    if (rtol is None) != (atol is None):
        raise ValueError("rtol and atol must both be specified or both be unspecified")
    rules = _Rules(locals())
    fault = _fault(actual, expected, rules, "")
    if fault is not None:
        words = msg(fault) if callable(msg) else (msg or fault)
        raise AssertionError(words)


def _fault(actual: Any, expected: Any, rules: _Rules, where: str) -> str | None:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            return f"The keys of the mappings do not match{where}: {set(actual) ^ set(expected)}"
        pairs = [(actual[key], expected[key], f"[{key!r}]") for key in actual]
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            return f"The length of the sequences mismatch{where}: {len(actual)} != {len(expected)}"
        pairs = [(a, b, f"[{i}]") for i, (a, b) in enumerate(zip(actual, expected, strict=True))]
    else:
        return _leaf_fault(actual, expected, rules, where)
    for a, b, step in pairs:
        fault = _fault(a, b, rules, f" (at {step})" if not where else f"{where[:-1]}{step})")
        if fault is not None:
            return fault
    return None


def _is_sequence(made: Any) -> bool:
    return isinstance(made, Sequence) and not isinstance(made, str)


def _leaf_fault(actual: Any, expected: Any, rules: _Rules, where: str) -> str | None:
    if actual is None or expected is None:
        return None if actual is expected else f"None mismatch: {actual} is not {expected}{where}"
    if isinstance(actual, bool) and isinstance(expected, bool):
        return None if actual is expected else f"Booleans mismatch: {actual} is not {expected}"
    a, b = _as_tensor(actual), _as_tensor(expected)
    same_kind = rules.allow_subclasses or type(actual) is type(expected)
    if (
        a is None
        or b is None
        or isinstance(actual, Tensor) != isinstance(expected, Tensor)
        or (not same_kind)
    ):
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and "
            f"{type(expected)}."
        )
    if not isinstance(actual, Tensor):
        return _value_fault(a, b, rules, where, "Scalars")
    fault = _attribute_fault(a, b, rules, where)
    if fault is None and a.layout is not b.layout:
        a, b = a.to_dense(), b.to_dense()
    if fault is None and isinstance(a, Composed) and isinstance(b, Composed):
        return _parts_fault(a, b, rules, where)
    return fault or _value_fault(a, b, rules, where, "Tensor-likes")


def _parts_fault(a: Composed, b: Composed, rules: _Rules, where: str) -> str | None:
    """Tensors that are not strided are compared part by part."""
    left, right = a._parts(), b._parts()
    for name in left:
        one, other = left[name], right[name]
        what = f"{a.layout!r} {name}"
        if size_of(one) != size_of(other):
            return f"The shapes of {what} do not match: {size_of(one)} != {size_of(other)}.{where}"
        fault = _value_fault(one, other, rules, where, what)
        if fault is not None:
            return fault
    return None


def _as_tensor(made: Any) -> Tensor | None:
    if isinstance(made, Tensor):
        return made
    if isinstance(made, int | float | complex | np.ndarray | np.generic):
        return from_host(np.asarray(made))
    return None


def _attribute_fault(a: Tensor, b: Tensor, rules: _Rules, where: str) -> str | None:
    facts = [("shape", tuple(size_of(a)), tuple(size_of(b)), True)]
    facts.append(("layout", a.layout, b.layout, rules.check_layout))
    facts.append(("device", a.device, b.device, rules.check_device))
    facts.append(("dtype", dtype_of(a), dtype_of(b), rules.check_dtype))
    if rules.check_stride and not isinstance(a, Composed):
        facts.append(("stride()", a.stride(), b.stride(), True))
    for name, left, right, checked in facts:
        if checked and left != right:
            return f"The values for attribute '{name}' do not match: {left} != {right}.{where}"
    return None


def _value_fault(a: Tensor, b: Tensor, rules: _Rules, where: str, what: str) -> str | None:
    rtol, atol = rules.tolerances((dtype_of(a), dtype_of(b)))
    left, right = _wide(to_host(a)), _wide(to_host(b))
    with np.errstate(all="ignore"):
        exact = left == right
        apart = np.abs(left - right)
        close = exact | (np.isfinite(apart) & (apart <= atol + rtol * np.abs(right)))
        if rules.equal_nan and left.dtype.kind in "fc":
            close = close | (np.isnan(left) & np.isnan(right))
    if bool(close.all()):
        return None
    bad = int((~close).sum())
    head = "equal" if rtol == 0 and atol == 0 else "close"
    if left.ndim == 0:
        return (
            f"{what} are not {head}!{where}\n\nExpected {right.item()} but got {left.item()}.\n"
            f"Absolute difference: {apart.item()} (up to {atol} allowed)"
        )
    gaps = np.where(close, -1, np.where(np.isnan(apart), np.inf, apart))
    worst = np.unravel_index(int(np.argmax(gaps)), left.shape)
    return (
        f"{what} are not {head}!{where}\n\n"
        f"Mismatched elements: {bad} / {left.size} ({bad / left.size:.1%})\n"
        f"Greatest absolute difference: {apart[worst]} at index {tuple(map(int, worst))} "
        f"(up to {atol} allowed, rtol {rtol})"
    )


def _wide(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """In a type in which differences are exact enough."""
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.kind in "fV":
        return array.astype(np.float64)
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    return array.astype(np.longdouble)  # 64 bits of mantissa: every integer exactly
