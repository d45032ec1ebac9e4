"""Tensors as text, character by character as PyTorch writes them.

`render` works on a NumPy array and what else shows (dtype, device, autograd), so that it needs
nothing of the core. A column of numbers shares one `Style`, which is chosen from the numbers that
will be seen: those of the corners, if the array is too large to be shown whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["Facts", "get_printoptions", "printoptions", "render", "set_printoptions"]


@dataclasses.dataclass
class Options:
    """What `set_printoptions` sets."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}

options = Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print. What is None stays, but sci_mode=None means automatic again."""
    wanted: dict[str, Any] = {}
    if profile is not None:
        wanted.update(_PROFILES.get(profile, {}))
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    wanted.update({name: value for name, value in given.items() if value is not None})
    for name, value in wanted.items():
        setattr(options, name, value)
    options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force, by name."""
    return dataclasses.asdict(options)


@contextlib.contextmanager
def printoptions(**changes: Any) -> Iterator[None]:
    """Set print options for a while."""
    before = get_printoptions()
    set_printoptions(**changes)
    try:
        yield
    finally:
        set_printoptions(**before)


# One number ------------------------------------------------------------------------------------


class Style:
    """How the numbers of one array are written: their notation, and their common width."""

    def __init__(self, seen: np.ndarray[Any, Any]) -> None:
        self.floating = seen.dtype.kind not in "biu"
        self.scientific = False
        self.whole = True
        self.width = 1
        if self.floating:
            self._study(seen.astype(np.float64, copy=False).reshape(-1))
        elif seen.size:
            self.width = max(len(str(value)) for value in seen.reshape(-1).tolist())

    def _study(self, seen: np.ndarray[Any, Any]) -> None:
        telling = seen[np.isfinite(seen) & (seen != 0)]
        if not telling.size:
            return
        largest, smallest = np.abs(telling).max(), np.abs(telling).min()
        self.whole = bool((telling == np.ceil(telling)).all())
        with np.errstate(over="ignore"):
            wide = largest / smallest > 1000.0 or largest > 1e8
        self.scientific = bool(wide or (not self.whole and smallest < 1e-4))
        if options.sci_mode is not None:
            self.scientific = options.sci_mode
        lengths = [len(self._digits(value)) for value in telling.tolist()]
        self.width = max(1, *lengths)

    def _digits(self, value: float) -> str:
        if self.scientific:
            return f"{value:.{options.precision}e}"
        if self.whole:
            return f"{value:.0f}" + ("." if math.isfinite(value) else "")
        return f"{value:.{options.precision}f}"

    def __call__(self, value: Any) -> str:
        """One number, filled up to the common width."""
        return (self._digits(value) if self.floating else str(value)).rjust(self.width)


class ComplexStyle:
    """Real and imaginary parts have each their own style."""

    def __init__(self, seen: np.ndarray[Any, Any]) -> None:
        self.real = Style(seen.real)
        self.imag = Style(seen.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value: complex) -> str:
        """One number: a+bj."""
        imag = self.imag(value.imag).lstrip() + "j"
        sign = "" if imag[0] in "+-" else "+"
        return self.real(value.real) + sign + imag


def _style_of(array: np.ndarray[Any, Any], summarised: bool) -> Style | ComplexStyle:
    seen = _corners(array) if summarised else array
    return ComplexStyle(seen) if array.dtype.kind == "c" else Style(seen)


def _corners(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements that a summary shows."""
    edge = options.edgeitems
    for axis, extent in enumerate(array.shape):
        if extent > 2 * edge:
            kept = [*range(edge), *range(extent - edge, extent)]
            array = np.take(array, kept, axis=axis)
    return array


# Many numbers ----------------------------------------------------------------------------------


def _rows(array: np.ndarray[Any, Any], indent: int, summarised: bool, style: Any) -> str:
    """Nested brackets. array: [...], printed from column `indent` on."""
    if array.ndim == 0:
        return str(style(array.item()))
    if array.ndim == 1:
        return _line(array, indent, summarised, style)
    edge = options.edgeitems
    if summarised and array.shape[0] > 2 * edge:
        first, last = array[:edge], array[array.shape[0] - edge :]
        parts = [_rows(part, indent + 1, summarised, style) for part in first]
        parts.append("...")
        parts += [_rows(part, indent + 1, summarised, style) for part in last]
    else:
        parts = [_rows(part, indent + 1, summarised, style) for part in array]
    between = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return "[" + between.join(parts) + "]"


def _line(array: np.ndarray[Any, Any], indent: int, summarised: bool, style: Any) -> str:
    """One vector, broken where the line is full. array: [n]"""
    edge, extent = options.edgeitems, array.shape[0]
    if summarised and not edge:
        words = ["..."]
    elif summarised and extent > 2 * edge:
        first, last = array[:edge].tolist(), array[extent - edge :].tolist()
        words = [*map(style, first), " ...", *map(style, last)]
    else:
        words = [style(value) for value in array.tolist()]
    room = options.linewidth - indent
    per_line = max(1, math.floor(room / (style.width + 2)))
    lines = [", ".join(words[at : at + per_line]) for at in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines or [""]) + "]"


# The whole tensor ------------------------------------------------------------------------------


@dataclasses.dataclass
class Facts:
    """What shows of a tensor beside its elements.

    usual: is the dtype one that goes without saying? default: is it the default float dtype?
    device: shown if not None. tail: what autograd adds, for example 'requires_grad=True'.
    """

    shape: tuple[int, ...]
    dtype: str
    usual: bool
    default: bool
    device: str | None = None
    tail: str | None = None
    prefix: str = "tensor("


def render(array: np.ndarray[Any, Any] | None, facts: Facts) -> str:
    """The text of a tensor. array: its elements, None for a meta tensor."""
    indent = len(facts.prefix)
    notes = [] if facts.device is None else [f"device='{facts.device}'"]
    if array is None:
        body = "..."
        notes.append(f"size={facts.shape}")
        unsaid = facts.default
    elif array.size == 0:
        body = "[]"
        if array.ndim != 1:
            notes.append(f"size={facts.shape}")
        unsaid = facts.default
    else:
        if not options.edgeitems:
            notes.append(f"size={facts.shape}")
        body = elements_text(array, indent)
        unsaid = facts.usual
    if not unsaid:
        notes.append(f"dtype={facts.dtype}")
    if facts.tail is not None:
        notes.append(facts.tail)
    return _with_notes(facts.prefix + body, notes, indent)


def elements_text(array: np.ndarray[Any, Any], indent: int) -> str:
    if array.dtype.kind == "V" or array.dtype == np.float16:
        array = array.astype(np.float32)
    summarised = array.size > options.threshold
    return _rows(array, indent, summarised, _style_of(array, summarised))


def render_parts(
    prefix: str, parts: list[tuple[str, np.ndarray[Any, Any]]], notes: list[str], broken: bool
) -> str:
    """The text of a tensor made of others, each on a line of its own. broken: the notes too."""
    indent = len(prefix)
    lines = []
    for name, array in parts:
        head = f"{name}=tensor("
        body = elements_text(array, indent + len(head)) if array.size else f"[], size={array.shape}"
        lines.append(f"{head}{body})")
    return _with_notes(prefix + (",\n" + " " * indent).join(lines), notes, indent, broken)


def render_noted(array: np.ndarray[Any, Any], notes: list[str]) -> str:
    """The text of a tensor with these elements, and notes after them."""
    prefix = "tensor("
    body = elements_text(array, len(prefix)) if array.size else "[]"
    return _with_notes(prefix + body, notes, len(prefix))


def _with_notes(text: str, notes: list[str], indent: int, broken: bool = False) -> str:
    """Append the notes, each on a new line if it would not fit on this one.

    broken: the first one always is.
    """
    used = len(text) - text.rfind("\n") + 1
    for note in notes:
        if broken or used + len(note) + 2 > options.linewidth:
            broken = False
            text += ",\n" + " " * indent + note
            used = indent + len(note)
        else:
            text += ", " + note
            used += len(note) + 2
    return text + ")"
