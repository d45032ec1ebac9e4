"""Numbers that PyTorch's compiler knows by name only, and functions that take those or plain ones.

Sizes are plain numbers here, so programs find none of these classes among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class SymInt:
    """A whole number with a name."""


class SymFloat:
    """A real number with a name."""


class SymBool:
    """A truth value with a name."""


def sym_int(a: Any) -> int:
    """The whole number towards zero."""
    return int(a)


def sym_float(a: Any) -> float:
    """The number as a real one."""
    return float(a)


def sym_not(a: Any) -> bool:
    """Negation."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The larger one; a real number if either is."""
    return _joined(max(a, b), a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The smaller one; a real number if either is."""
    return _joined(min(a, b), a, b)


def _joined(found: Any, a: Any, b: Any) -> Any:
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_sum(args: Sequence[Any]) -> Any:
    """The sum of all."""
    return sum(args)


def sym_ite(b: bool, t: Any, f: Any) -> Any:
    """t if b, else f, which are of one type."""
    if not isinstance(b, bool):
        raise AssertionError(f"expected SymBool or bool, got {type(b)}")
    if type(t) is not type(f):
        raise AssertionError(f"type mismatch: {type(t)} vs {type(f)}")
    return t if b else f
