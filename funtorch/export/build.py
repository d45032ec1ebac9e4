"""From a function with state to a stored program: capture, dimensions, signature, bytes."""

from __future__ import annotations

import collections
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from funtorch import containers
from funtorch.compiler.state import within
from funtorch.dispatch import read
from funtorch.export.artifact import Leaf, Signature, Stored
from funtorch.export.dims import Dim, Range, per_axis
from funtorch.export.examples import AdditionalInputs, ShapesCollection
from funtorch.export.structure import described
from funtorch.func.stateful import Pure, purify
from funtorch.lowering import Aval, Value, aot, aval_of
from funtorch.lowering.op import lowering_for
from funtorch.lowering.program import Program, prune
from funtorch.lowering.program import run as run_program
from funtorch.lowering.symbolic import Fit, ShapeError, generalised, sample_sizes
from funtorch.lowering.x64 import x64
from funtorch.tensor import Tensor, wrap

Axes = list[dict[int, Dim]]


class Built(NamedTuple):
    """A program with its signature, and what it needs beside state and inputs."""

    signature: Signature
    exported: Any
    constants: list[Value]
    function: Callable[..., list[Any]]
    structs: list[jax.ShapeDtypeStruct]
    recording: Recording

    def stored(self, gradient: bool = True) -> Stored:
        """As bytes, with its gradient unless nobody will want it."""
        data, self.signature.vjp_order = aot.to_bytes(self.exported, gradient)
        plain = None
        if not self.signature.dims:
            donated = [i for i, _ in self.signature.donate]
            plain = aot.vhlo(self.function, self.structs, donated)
        return Stored(self.signature, data, plain)


class Request(NamedTuple):
    """What to build a program of.

    roles: the role of each state tensor by name. numbers: Python numbers that shall be inputs, as
    (present value, function that sets it). gradient: may the program be differentiated?
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: Mapping[str, Tensor]
    roles: Mapping[str, str]
    names: Sequence[str]
    platforms: Sequence[str] = aot.PLATFORMS
    numbers: Mapping[str, tuple[float, Callable[[float], None]]] = MappingProxyType({})
    locate: Callable[[], Any] | None = None
    gradient: bool = True


class Recording(NamedTuple):
    """What a request recorded, with sizes generalised: steps, and the avals of its inputs.

    where: the places of each number among the scalars. symbols: the dimensions by name.
    """

    request: Request
    pure: Pure
    program: Program
    scalars: list[Any]
    where: dict[str, list[int]]
    symbols: dict[str, Any]
    spec: Any
    paths: list[str]
    in_avals: list[Aval]
    dims: dict[str, list[int | None]]

    def needed(self) -> Program:
        """The steps that the outputs need."""
        return prune(self.program)


def argument_names(function: Callable[..., Any], args: Any, kwargs: Any) -> list[str]:
    """A name for each positional argument, from the signature where it has one."""
    try:
        bound = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        known = [p.name for p in bound]
    except (TypeError, ValueError):
        known = []
    return [known[i] if i < len(known) else f"args[{i}]" for i in range(len(args))]


def describe(request: Request) -> tuple[Any, list[Tensor], list[str]]:
    """(JSON of the arguments, their tensors, a name for each)."""
    leaves: list[Tensor] = []
    paths: list[str] = []
    names = request.names or argument_names(request.function, request.args, request.kwargs)
    spec = {
        "args": [described(a, leaves, paths, n) for a, n in zip(request.args, names, strict=True)],
        "kwargs": [[k, described(v, leaves, paths, k)] for k, v in request.kwargs.items()],
        "names": list(names),
    }
    return spec, leaves, paths


def axes_of(request: Request, dynamic_shapes: Any) -> Axes:
    """{axis: Dim} for each tensor among the arguments."""
    _, leaves, _ = describe(request)
    if dynamic_shapes is None:
        return [{} for _ in leaves]
    if isinstance(dynamic_shapes, ShapesCollection | AdditionalInputs):
        others = lambda args, kwargs: describe(request._replace(args=args, kwargs=kwargs))[1]  # noqa: E731
        return dynamic_shapes.axes(leaves, others)
    found: Axes = []
    names = request.names or argument_names(request.function, request.args, request.kwargs)
    given = dynamic_shapes
    if isinstance(given, dict):
        known = [*names, *request.kwargs]
        unknown = [k for k in given if k not in known]
        if unknown:
            raise ValueError(f"dynamic_shapes names {unknown}; the arguments are {known}")
        pairs = [(n, a, given.get(n)) for n, a in zip(names, request.args, strict=True)]
        pairs += [(k, v, given.get(k)) for k, v in request.kwargs.items()]
    else:
        if len(given) != len(request.args) + len(request.kwargs):
            raise ValueError(
                f"dynamic_shapes has {len(given)} entries for "
                f"{len(request.args) + len(request.kwargs)} arguments"
            )
        values = [*request.args, *request.kwargs.values()]
        pairs = list(zip([*names, *request.kwargs], values, given, strict=True))
    for name, value, spec in pairs:
        _collect(value, spec, name, found)
    return found


def _collect(value: Any, spec: Any, where: str, found: Axes) -> None:
    if isinstance(value, Tensor):
        found.append(per_axis(spec, value.ndim, where))
    elif type(value) in containers.by_class:
        items, _, keys = containers.children_of(value, containers.by_class[type(value)])
        for i, (key, item) in enumerate(zip(keys, items, strict=True)):
            own = spec.get(key) if isinstance(spec, dict) else None if spec is None else spec[i]
            _collect(item, own, f"{where}.{key}", found)
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(item, None if spec is None else spec.get(key), f"{where}[{key!r}]", found)
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            _collect(item, None if spec is None else spec[i], f"{where}[{i}]", found)


def ranges_of(axes: Axes, avals: Sequence[Aval], paths: Sequence[str]) -> dict[str, Any]:
    """name -> (Dim, size in the example). Raises ValueError where one name has two sizes."""
    found: dict[str, tuple[Dim, int, str]] = {}
    for own, aval, path in zip(axes, avals, paths, strict=True):
        for axis, dim in own.items():
            name, size = dim.root.__name__, aval.shape[axis]
            root = dim.root_size(size)
            words = f"{path}.shape[{axis}] = {size}"
            if root is None:
                raise ValueError(f"{words} is not {dim!r} for any whole {name}")
            if root < dim.min or (dim.max is not None and root > dim.max):
                raise ValueError(
                    f"{words} is outside of the range of its dimension: "
                    f"{Range(dim.min, dim.max).words(name)}"
                )
            before = found.setdefault(name, (dim.root, root, words))
            if before[1] != root:
                raise ValueError(
                    f"dimension {name} cannot be {before[1]} ({before[2]}) and {root} ({words}) "
                    "at once: use one Dim for each"
                )
    return {name: (dim, size) for name, (dim, size, _) in found.items()}


def guesses(axes: Axes, request: Request) -> Iterator[Axes]:
    """What to try for dimensions that nobody named (Dim.AUTO): all different, then those of equal
    size the same, then fixed. Nothing, if all have names."""
    if not any(dim.auto for own in axes for dim in own.values()):
        return
    yield axes
    shared: dict[int, Dim] = {}
    tied: Axes = []
    for own, tensor in zip(axes, describe(request)[1], strict=True):
        sizes = tensor.shape
        tied.append({i: shared.setdefault(sizes[i], d) if d.auto else d for i, d in own.items()})
    yield tied
    if not any(dim.dynamic for own in axes for dim in own.values()):
        yield [{i: d for i, d in own.items() if not d.auto} for own in axes]


def _resized(avals: Sequence[Aval], axes: Axes, sizes: Mapping[str, Any]) -> list[Aval]:
    made = []
    for aval, own in zip(avals, axes, strict=True):
        shape = tuple(
            own[i].size(sizes[own[i].root.__name__]) if i in own else n
            for i, n in enumerate(aval.shape)
        )
        plain = all(type(n) is int for n in shape)
        make = aval_of if plain else Aval
        made.append(make(shape, aval.dtype, aval.place))
    return made


def recorded(request: Request, axes: Axes | None = None) -> Recording:
    """Capture. Raises ShapeError (in the user's dims) and what the function raises."""
    spec, leaves, paths = describe(request)
    avals = [read(t).aval for t in leaves]
    axes = axes or [{} for _ in leaves]
    named = ranges_of(axes, avals, paths)
    with within("exporting"):
        if not named:
            pure, where = purified(request, avals)
            program, scalars, symbols = pure.program, list(pure.captured.scalars), {}
        else:
            pure, where, program, scalars, symbols = _generalised(request, avals, axes, named)
    dims = {n: [max(d.min, 1), d.max] for n, (d, _) in named.items()}
    in_avals = _resized(avals, axes, symbols)
    return Recording(request, pure, program, scalars, where, symbols, spec, paths, in_avals, dims)


def build(request: Request, axes: Axes | None = None) -> Built:
    """Capture and export. Raises ShapeError (in the user's dims) and what the function raises."""
    return _exported(recorded(request, axes))


def purified(request: Request, avals: Sequence[Aval]) -> tuple[Pure, dict[str, list[int]]]:
    """(the captured function, for each number the places among its scalars where it stands)."""

    def captured(factor: float) -> Pure:
        for i, (_, put) in enumerate(request.numbers.values()):
            put(factor * (i + 1))
        try:
            return purify(
                request.function,
                request.args,
                request.kwargs,
                request.state,
                avals=avals,
                locate=request.locate,
                gradient=request.gradient,
            )
        finally:
            for value, put in request.numbers.values():
                put(value)

    if not request.numbers:
        return captured(1.0), {}
    # Two captures with numbers that occur nowhere else tell where each of them goes.
    marks = 0.0123456789, 0.0198765432
    one, two = captured(marks[0]), captured(marks[1])
    where: dict[str, list[int]] = {name: [] for name in request.numbers}
    names = list(request.numbers)
    pairs = zip(one.captured.scalars, two.captured.scalars, strict=True)
    for index, (a, b) in enumerate(pairs):
        if a == b:
            continue
        found = [
            n for i, n in enumerate(names) if (a, b) == (marks[0] * (i + 1), marks[1] * (i + 1))
        ]
        if not found:
            raise RuntimeError(
                f"{', '.join(names)}: the function computes with it in Python before it reaches a "
                "tensor, so that it cannot be an input of the program"
            )
        where[found[0]].append(index)
    return one, where


def _generalised(
    request: Request, avals: Sequence[Aval], axes: Axes, named: Mapping[str, Any]
) -> tuple[Pure, dict[str, list[int]], Any, list[Any], dict[str, Any]]:
    points = sample_sizes({n: (size, d.min, d.max) for n, (d, size) in named.items()})
    pures, where = [], {}
    for point in points:
        try:
            pure, where = purified(request, _resized(avals, axes, point))
            pures.append(pure)
        except ShapeError:
            raise
        except Exception as error:
            sizes = ", ".join(f"{n} = {s}" for n, s in point.items())
            raise ShapeError(
                f"the function fails at {sizes}: {error} (give the Dim a range in which it works, "
                "or make the dimension static)"
            ) from error
    constraints = []
    for name, (dim, _) in named.items():
        constraints.append(f"{name} >= {max(dim.min, 1)}")
        if dim.max is not None:
            constraints.append(f"{name} <= {dim.max}")
    symbols = aot.symbols(", ".join(named), constraints)
    fit = Fit(points, symbols)
    program, scalars = generalised(
        [prune(p.program) for p in pures], [p.captured.scalars for p in pures], fit
    )
    for other, point in zip(pures, points, strict=True):
        if other.out_spec != pures[0].out_spec or other.out_tree != pures[0].out_tree:
            raise ShapeError(
                f"the function returns Python values that depend on {', '.join(named)}: at "
                f"{dict(point)} {other.out_spec}, at {dict(points[0])} {pures[0].out_spec}"
            )
    if not all(_equal(p.constants, pures[0].constants) for p in pures):
        raise ShapeError(
            f"the function makes tensors from data whose contents depend on {', '.join(named)}: "
            "make them with factory functions (arange, zeros, full) instead"
        )
    return pures[0], where, program, scalars, symbols


def _equal(ours: Sequence[Value], theirs: Sequence[Value]) -> bool:
    """Are these constants the same, or of the same contents?"""
    return len(ours) == len(theirs) and all(
        a is b
        or (
            a.aval == b.aval
            and np.asarray(a.concrete()).tobytes() == np.asarray(b.concrete()).tobytes()
        )
        for a, b in zip(ours, theirs, strict=True)
    )


def _exported(recording: Recording) -> Built:
    request, pure, scalars = recording.request, recording.pure, recording.scalars
    where, dims, in_avals = recording.where, recording.dims, recording.in_avals
    program, steps = recording.program, recording.needed()
    n_state = len(pure.names)
    draws = pure.draws
    place = program.leaf_avals[n_state].place

    def function(*arrays: Any) -> list[Any]:
        # A program that draws nothing has no key among its inputs.
        given, numbers = list(arrays), list(scalars)
        first = n_state + draws
        for places in where.values():
            value = given.pop(first)
            for index in places:
                numbers[index] = value
        if not draws:
            given.insert(n_state, jax.numpy.zeros(2, "uint32"))
        with x64(), lowering_for(place):
            return run_program(steps, given, numbers)

    own = list(program.leaf_avals[:n_state])
    key = [program.leaf_avals[n_state]] if draws else []
    key += [aval_of((), np.dtype("f8"), place) for _ in where]
    consts = [v.aval for v in pure.constants]
    structs = aot_structs([*own, *key, *in_avals, *consts])
    try:
        made = aot.exported(function, structs, request.platforms)
    except (ValueError, TypeError, NotImplementedError, jax.errors.JAXTypeError) as error:
        names = f" for every size of {', '.join(dims)}" if dims else ""
        raise ShapeError(f"the function cannot be exported{names}: {error}") from error
    return Built(
        signed(recording, made.out_avals), made, pure.constants, function, structs, recording
    )


def signed(recording: Recording, out_avals: Sequence[Any]) -> Signature:
    """What goes in and comes out of a recorded program."""
    request, pure, program = recording.request, recording.pure, recording.program
    n_state = len(pure.names)
    place = program.leaf_avals[n_state].place
    own = list(program.leaf_avals[: n_state + pure.draws])
    own += [aval_of((), np.dtype("f8"), place) for _ in recording.where]
    consts = [v.aval for v in pure.constants]
    inputs = _input_leaves(request, pure, own, recording.paths, recording.in_avals, consts)
    outputs = _output_leaves(request, pure, out_avals, recording.paths)
    ops = dict(collections.Counter(s.inst.op.label for s in recording.needed().steps))
    result = pure.rebuild([placeholder(a) for a in out_avals[: pure.n_outputs]])
    out_spec = described(result, [], [], "the result")
    donate = [
        [pure.names.index(o.target), i]
        for i, o in enumerate(outputs)
        if o.role != "output" and o.target in pure.names
    ]
    platforms = list(request.platforms)
    signature = Signature(
        inputs, outputs, recording.dims, recording.spec, out_spec, platforms, 0, donate, ops
    )
    signature.numbers = {name: float(value) for name, (value, _) in request.numbers.items()}
    return signature


def placeholder(aval: Any) -> Tensor:
    """A tensor on the meta device; open dimensions have size 1."""
    shape = tuple(n if isinstance(n, int) else 1 for n in aval.shape)
    return wrap(Value(aval_of(shape, np.dtype(aval.dtype), "meta")))


def aot_structs(avals: Sequence[Aval]) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes as JAX says them."""
    with x64():
        return [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]


def _shape(shape: Sequence[Any]) -> list[int | str]:
    return [n if isinstance(n, int) else str(n) for n in shape]


def _leaf(name: str, aval: Any, role: str, target: str | None = None) -> Leaf:
    return Leaf(name, aval.dtype.name, _shape(aval.shape), role, target)


def _input_leaves(
    request: Request,
    pure: Pure,
    own: Sequence[Aval],
    paths: Sequence[str],
    in_avals: Sequence[Aval],
    consts: Sequence[Aval],
) -> list[Leaf]:
    leaves = [
        _leaf(name, aval, request.roles[name], name)
        for name, aval in zip(pure.names, own, strict=False)
    ]
    extra = [("rng", "rng")] * pure.draws + [(name, "lr") for name in request.numbers]
    rest = own[len(pure.names) :]
    leaves += [_leaf(n, a, role) for (n, role), a in zip(extra, rest, strict=True)]
    leaves += [_leaf(p, a, "input") for p, a in zip(paths, in_avals, strict=True)]
    return leaves + [
        _leaf(f"constant.{i}", a, "constant", f"constant.{i}") for i, a in enumerate(consts)
    ]


def _output_leaves(
    request: Request, pure: Pure, avals: Sequence[Any], paths: Sequence[str]
) -> list[Leaf]:
    n = pure.n_outputs
    leaves = [_leaf(f"output_{i}", a, "output") for i, a in enumerate(avals[:n])]
    for index, aval in zip(pure.changed, avals[n:], strict=False):
        name = pure.names[index]
        leaves.append(_leaf(name, aval, request.roles[name], name))
    rest = avals[n + len(pure.changed) :]
    for index, aval in zip(pure.written, rest, strict=True):
        leaves.append(_leaf(paths[index], aval, "input", paths[index]))
    return leaves
