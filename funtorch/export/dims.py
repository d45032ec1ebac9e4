"""Dim: a dimension that may have another size at every call."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

_AUTO = "auto"
_serial = itertools.count()


class Dim:
    """A named dimension: `Dim('batch', min=1, max=1024)`. Sums and products with integers work.

    Dim.AUTO and Dim.DYNAMIC stand for a dimension without a name, Dim.STATIC for a fixed one.
    """

    AUTO: Any
    DYNAMIC: Any
    STATIC: Any

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"Dim: a name is an identifier, not {name!r}")
        if min is not None and max is not None and max <= min:
            raise ValueError(f"Cannot create Dim with inconsistent min={min}, max={max}")
        self.__name__ = name
        self.min = 0 if min is None else min
        self.max = max
        self.factor, self.offset = 1, 0
        self.auto, self.dynamic = False, False  # nobody named it; it must not turn out fixed
        self.root = self

    def _derived(self, factor: int, offset: int) -> Dim:
        made = Dim(self.root.__name__)
        made.min, made.max = self.root.min, self.root.max
        made.factor, made.offset, made.root = factor, offset, self.root
        return made

    def __add__(self, other: int) -> Dim:
        return self._derived(self.factor, self.offset + _whole(other))

    __radd__ = __add__

    def __sub__(self, other: int) -> Dim:
        return self + -_whole(other)

    def __mul__(self, other: int) -> Dim:
        if _whole(other) <= 0:
            raise NotImplementedError(f"Attempted to multiply {other} with {self}")
        return self._derived(self.factor * other, self.offset * other)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        text = self.root.__name__ if self.factor == 1 else f"{self.factor}*{self.root.__name__}"
        return (
            text
            if not self.offset
            else f"{text} {'+' if self.offset > 0 else '-'} {abs(self.offset)}"
        )

    def size(self, root: Any) -> Any:
        """This dimension where the one it derives from has size `root`."""
        return self.factor * root + self.offset

    def root_size(self, own: int) -> int | None:
        """The inverse of `size`; None if there is none."""
        quotient, rest = divmod(own - self.offset, self.factor)
        return None if rest else quotient


class _Hint(Dim):
    """AUTO, DYNAMIC and STATIC."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"DimHint({self.kind})"


Dim.AUTO, Dim.DYNAMIC, Dim.STATIC = _Hint("AUTO"), _Hint("DYNAMIC"), _Hint("STATIC")


def _whole(other: Any) -> int:
    if not isinstance(other, int):
        raise NotImplementedError(f"a Dim is combined with integers only, not {other!r}")
    return other


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """Several dimensions with the same range."""
    return tuple(Dim(name, min=min, max=max) for name in names)


class Range(NamedTuple):
    """What a dimension may be. auto: nobody named it, so it may turn out to be fixed."""

    min: int
    max: int | None
    auto: bool = False

    def words(self, name: str) -> str:
        """'1 <= batch <= 1024'"""
        text = name if not self.min else f"{self.min} <= {name}"
        return text if self.max is None else f"{text} <= {self.max}"


def per_axis(spec: Any, rank: int, where: str) -> dict[int, Dim]:
    """{axis: Dim} of one tensor's entry in `dynamic_shapes`."""
    if spec is None:
        return {}
    if isinstance(spec, tuple | list):
        if len(spec) != rank:
            raise ValueError(
                f"dynamic_shapes: {where} has {rank} dimensions, its entry {len(spec)}: {spec}"
            )
        spec = dict(enumerate(spec))
    if not isinstance(spec, dict):
        raise TypeError(f"dynamic_shapes: expected a dict or a tuple for {where}, not {spec!r}")
    found: dict[int, Dim] = {}
    for axis, dim in spec.items():
        if not isinstance(axis, int) or not -rank <= axis < rank:
            raise ValueError(f"dynamic_shapes: {where} has no dimension {axis!r} (it has {rank})")
        if isinstance(dim, _Hint):
            if dim is Dim.STATIC:
                continue
            dim = _anonymous(dim is Dim.DYNAMIC)
        if isinstance(dim, Dim):
            found[axis % rank] = dim
        elif dim is not None and not isinstance(dim, int):
            raise TypeError(
                f"dynamic_shapes: {where}, dimension {axis}: expected a Dim, not {dim!r}"
            )
    return found


def _anonymous(dynamic: bool) -> Dim:
    made = Dim(f"s{next(_serial)}")
    made.auto, made.dynamic = True, dynamic
    return made
