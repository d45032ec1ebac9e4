"""One program for many sizes: captured at several, written with dimensions instead of numbers.

A function that is recorded at two sizes yields the same ops with other integers among their static
arguments. Each such integer is fitted as a polynomial of the dimensions (constant, linear, products
of two), checked at a size of its own, and replaced by JAX's symbolic dimensions when the program is
lowered. So whoever records never sees anything but plain integers.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import jax
from funtorch.lowering.aval import Aval
from funtorch.lowering.backward import lowers_vjp
from funtorch.lowering.op import Instance, instance_by_uid
from funtorch.lowering.program import Program, Step, run

Sizes = Mapping[str, int]


class Nested:
    """Static arguments that hold programs: the branches of a condition, the body of a loop.

    make(runners) -> the pure function of the op; a runner calls one of the programs on arrays.
    fixed: what else decides on `make`; it may not change with a size.
    """

    __slots__ = ("fixed", "key", "make", "programs", "pure", "scalars")

    def __init__(
        self,
        key: Any,
        programs: Sequence[Program],
        scalars: Sequence[Sequence[Any]],
        make: Callable[[list[Callable[[Sequence[Any]], list[Any]]]], Any],
        fixed: Any = (),
    ) -> None:
        self.key = key
        self.fixed = fixed
        self.programs = tuple(programs)
        self.scalars = tuple(scalars)
        self.make = make
        pairs = zip(self.programs, self.scalars, strict=True)
        self.pure = make([functools.partial(_run, p, list(s)) for p, s in pairs])

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nested) and self.key == other.key

    def __repr__(self) -> str:
        return f"Nested({len(self.programs)} programs)"


def _run(program: Program, scalars: list[Any], arrays: Sequence[Any]) -> list[Any]:
    return run(program, arrays, scalars)


class ShapeError(RuntimeError):
    """A program depends on a dimension in a way that cannot be written down."""


def is_symbolic(value: Any) -> bool:
    """Is it a size that depends on symbolic dimensions?"""
    return bool(jax.export.is_symbolic_dim(value))


def monomials(names: Sequence[str]) -> list[tuple[str, ...]]:
    """(), (a,), (b,), (a, b): what a size may be made of."""
    pairs = itertools.combinations(names, 2)
    return [(), *((n,) for n in names), *pairs]


def sample_sizes(ranges: Mapping[str, tuple[int, int, int | None]]) -> list[dict[str, int]]:
    """Sizes at which to record: one per monomial, then some to check. ranges: (seen, min, max).

    The checks lie far from the rest, so that a halving or rounding somewhere shows. Raises
    ShapeError where a range has fewer than three sizes.
    """
    columns: dict[str, tuple[int, int, int]] = {}
    for name, (seen, low, high) in ranges.items():
        low = max(low, 2)  # 0 and 1 mean other things
        first = max(seen, low)
        if high is not None and high - low < 2:
            raise ShapeError(
                f"dimension {name} may only be {low} to {high}: make it static, or widen its range"
            )
        top = 2 * first + 3 if high is None else min(2 * first + 3, high)
        first = min(first, top - 2)
        columns[name] = (first, first + 1, top)
    base = {name: column[0] for name, column in columns.items()}
    varied = [{**base, **{n: columns[n][1] for n in m}} for m in monomials(list(columns))]
    return [*varied, {n: column[2] for n, column in columns.items()}]


class Fit:
    """Fits integers seen at the sample sizes, and says them in symbolic dimensions."""

    def __init__(self, points: Sequence[Sizes], dims: Mapping[str, Any]) -> None:
        self.points = points
        self.dims = dims
        self.basis = monomials(list(dims))
        rows = [[_value(m, p) for m in self.basis] for p in points[: len(self.basis)]]
        self.inverse = _inverted(rows)

    def integer(self, seen: Sequence[int], what: str) -> Any:
        """The symbolic form of an integer that was seen with these values."""
        if all(s == seen[0] for s in seen):
            return seen[0]
        coefficients = [
            sum((r * s for r, s in zip(row, seen, strict=False)), Fraction(0))
            for row in self.inverse
        ]
        for point, value in zip(self.points, seen, strict=True):
            found = sum(c * _value(m, point) for c, m in zip(coefficients, self.basis, strict=True))
            if found != value:
                names = ", ".join(self.dims)
                raise ShapeError(
                    f"{what} depends on {names} in a way that is no polynomial (values "
                    f"{list(seen)} at {[dict(p) for p in self.points]}); make it static"
                )
        scale = math.lcm(*(c.denominator for c in coefficients))
        total: Any = 0
        for c, monomial in zip(coefficients, self.basis, strict=True):
            if c:
                total = total + int(c * scale) * math.prod(self.dims[n] for n in monomial)
        return total if scale == 1 else total // scale

    def tree(self, seen: Sequence[Any], what: str) -> Any:
        """Static arguments with symbolic integers in place of those that vary."""
        first = seen[0]
        if all(s == first and type(s) is type(first) for s in seen):
            return first
        if type(first) is int and all(type(s) is int for s in seen):
            return self.integer(seen, what)
        if isinstance(first, tuple) and len({len(s) for s in seen}) == 1:
            parts = [self.tree(column, what) for column in zip(*seen, strict=True)]
            return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
        if isinstance(first, Nested) and len({(len(s.programs), s.fixed) for s in seen}) == 1:
            return self._nested(seen)
        raise ShapeError(f"{what} does different things at different sizes: {first} and {seen[1]}")

    def _nested(self, seen: Sequence[Nested]) -> Nested:
        columns = zip(*(zip(n.programs, n.scalars, strict=True) for n in seen), strict=True)
        made = [generalised([p for p, _ in c], [s for _, s in c], self) for c in columns]
        key = (seen[0].key, tuple(n.key for n in seen))
        programs, numbers = [p for p, _ in made], [s for _, s in made]
        return Nested(key, programs, numbers, seen[0].make, seen[0].fixed)


def _value(monomial: tuple[str, ...], point: Sizes) -> int:
    return math.prod(point[name] for name in monomial)


def _inverted(rows: list[list[int]]) -> list[list[Fraction]]:
    """Gauss-Jordan on a small integer matrix."""
    n = len(rows)
    table = [
        [Fraction(x) for x in r] + [Fraction(i == j) for j in range(n)] for i, r in enumerate(rows)
    ]
    for i in range(n):
        pivot = next(r for r in range(i, n) if table[r][i])
        table[i], table[pivot] = table[pivot], table[i]
        table[i] = [x / table[i][i] for x in table[i]]
        for r in range(n):
            if r != i and table[r][i]:
                table[r] = [x - table[r][i] * y for x, y in zip(table[r], table[i], strict=True)]
    return [row[n:] for row in table]


def generalised(
    programs: Sequence[Program], scalars: Sequence[Sequence[Any]], fit: Fit
) -> tuple[Program, list[Any]]:
    """(one program for all sizes, its scalars). Raises ShapeError where there is none."""
    first = programs[0]
    for other, point in zip(programs[1:], fit.points[1:], strict=True):
        _check_alike(first, other, fit.points[0], point)
    symbolic: dict[int, Instance] = {}
    steps = []
    for column in zip(*(p.steps for p in programs), strict=True):
        inst = _instance([s.inst for s in column], fit, symbolic)
        steps.append(column[0]._replace(inst=inst))
    values = [_scalar(column, fit) for column in zip(*scalars, strict=True)]
    return first._replace(steps=tuple(steps)), values


def _scalar(column: Sequence[Any], fit: Fit) -> Any:
    if all(v == column[0] for v in column):
        return column[0]
    if not all(type(v) is int for v in column):
        raise ShapeError(
            f"a Python number changes with the size ({list(column)}): compute it with tensors, or "
            "make the dimension static"
        )
    return fit.integer(column, "a Python number")


def _check_alike(first: Program, other: Program, at: Sizes, there: Sizes) -> None:
    for one, two in itertools.zip_longest(first.steps, other.steps):
        if one is None or two is None or not _alike(one, two):
            name = (one or two).inst.op.label
            raise ShapeError(
                f"the function does different things at {dict(at)} and {dict(there)} (first at op "
                f"{name!r}): a branch or a loop in it depends on the size; make the dimension static"
            )
    if first.outputs != other.outputs or first.leaves != other.leaves:
        raise ShapeError(f"the function returns other things at {dict(at)} than at {dict(there)}")


def _alike(one: Step, two: Step) -> bool:
    return (
        one.inst.op is two.inst.op
        and one.inputs == two.inputs
        and one.inst.scalar_types == two.inst.scalar_types
        and len(one.inst.out_avals) == len(two.inst.out_avals)
    )


def _instance(column: Sequence[Instance], fit: Fit, made: dict[int, Instance]) -> Instance:
    """One instance, with symbolic static arguments and shapes, for those seen at each size."""
    first = column[0]
    known = made.get(first.uid)
    if known is not None:
        return known
    what = f"op {first.op.label!r}"
    position = lowers_vjp(first)
    statics = [inst.statics for inst in column]
    if position is not None:  # a gradient op names the instance that it is the gradient of
        inner = _instance([instance_by_uid(s[position]) for s in statics], fit, made)
        own = (*first.statics[:position], inner.uid, *first.statics[position + 1 :])
    else:
        own = fit.tree(statics, what)
    ins = _avals([inst.in_avals for inst in column], fit, what)
    outs = _avals([inst.out_avals for inst in column], fit, what)
    result = made[first.uid] = Instance(first.op, own, first.scalar_types, ins, outs)
    return result


def _avals(columns: Sequence[tuple[Aval, ...]], fit: Fit, what: str) -> tuple[Aval, ...]:
    found = []
    for seen in zip(*columns, strict=True):
        shapes = [a.shape for a in seen]
        if len({len(s) for s in shapes}) > 1:
            raise ShapeError(f"{what} has another number of dimensions at another size")
        # Extents inside may be no polynomial (those of a strided convolution): only gradients of
        # inputs whose values do not matter ever read them, and those are given by the inputs.
        try:
            shape = fit.tree(shapes, what)
        except ShapeError:
            shape = shapes[0]
        found.append(Aval(shape, seen[0].dtype, seen[0].place))
    return tuple(found)
