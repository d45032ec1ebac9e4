"""Ops and their instances: the vocabulary of a trace.

An `Op` is a name with a pure JAX lowering. An `Instance` is an op with everything fixed that XLA
needs to know: static arguments, the types of its Python scalars, the avals of its inputs. Instances
are memoised, and so are their output avals: inferring a shape happens once per signature, never once
per call. Knows no op by name.
"""

from __future__ import annotations

import itertools
import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
from funtorch.lowering.aval import META, Aval, Place, aval_of
from funtorch.lowering.x64 import x64

Lower = Callable[[Sequence[Any], Sequence[Any], Any], tuple[Any, ...]]


_ops: dict[str, weakref.WeakSet[Op]] = {}


def op_named(name: str) -> Op | None:
    """The op of this name; None if there is none, or more than one."""
    found = list(_ops.get(name, ()))
    return found[0] if len(found) == 1 else None


class Op:
    """A named pure function `lower(inputs, scalars, statics) -> outputs`.

    inputs are arrays, scalars Python numbers (or traced 0-d arrays, once they vary from step to
    step), statics any hashable value. `residuals` asks that a gradient reuse what the forward pass
    computed instead of computing it again (see `backward`): for ops whose recomputation is dear.
    `host(arrays, scalars, statics)` does the same on NumPy arrays without copying: for views, which
    would else be compiled anew for every extent of what they look at.
    """

    __slots__ = ("__weakref__", "host", "label", "lower", "name", "residuals")

    def __init__(
        self,
        name: str,
        lower: Lower,
        *,
        residuals: bool = False,
        label: str | None = None,
        host: Lower | None = None,
    ) -> None:
        self.name = name
        self.lower = lower
        self.residuals = residuals
        self.host = host
        self.label = label or name
        _ops.setdefault(name, weakref.WeakSet()).add(self)

    def __repr__(self) -> str:
        return f"Op({self.name})"


class Instance:
    """One op at one signature. `uid` is its word in a trace."""

    __slots__ = ("in_avals", "op", "out_avals", "scalar_types", "statics", "uid")

    def __init__(
        self,
        op: Op,
        statics: Any,
        scalar_types: tuple[type, ...],
        in_avals: tuple[Aval, ...],
        out_avals: tuple[Aval, ...],
    ) -> None:
        self.op = op
        self.statics = statics
        self.scalar_types = scalar_types
        self.in_avals = in_avals
        self.out_avals = out_avals
        self.uid = next(_uids)
        _by_uid[self.uid] = self

    def __call__(self, inputs: Sequence[Any], scalars: Sequence[Any]) -> tuple[Any, ...]:
        """Lower: arrays in, arrays out. Only called while JAX traces."""
        return self.op.lower(inputs, scalars, self.statics)

    def __repr__(self) -> str:
        args = ", ".join(map(repr, self.in_avals))
        return f"{self.op.name}({args})"


_uids = itertools.count(1)
_by_uid: dict[int, Instance] = {}
_memo: dict[Any, Instance] = {}
_lock = threading.RLock()


def instance_by_uid(uid: int) -> Instance:
    """The instance that a word of a trace stands for."""
    return _by_uid[uid]


def instance(
    op: Op,
    statics: Any,
    scalars: Sequence[Any],
    in_avals: tuple[Aval, ...],
    place: Place,
) -> Instance:
    """The instance of `op` at this signature, inferring its outputs the first time.

    `place` says where outputs live when there are no inputs to tell. Raises what the lowering
    raises; JAX's own TypeError and ValueError become RuntimeError, which is what PyTorch raises
    for shapes and dtypes that do not fit.
    """
    scalar_types = tuple(map(type, scalars))
    key = (op, statics, scalar_types, in_avals, place)
    found = _memo.get(key)
    if found is None:
        outs = infer(op, statics, scalars, in_avals, place)
        with _lock:
            found = _memo.get(key)
            if found is None:
                found = _memo[key] = Instance(op, statics, scalar_types, in_avals, outs)
    return found


def infer(
    op: Op, statics: Any, scalars: Sequence[Any], in_avals: tuple[Aval, ...], place: Place
) -> tuple[Aval, ...]:
    """Output avals of `op`, by abstract evaluation of its lowering."""
    try:
        with x64(), lowering_for(place):
            outs = jax.eval_shape(
                lambda arrays: op.lower(arrays, scalars, statics),
                [a.struct() for a in in_avals],
            )
    except (TypeError, ValueError) as error:
        if _raised_by_jax(error):
            avals = ", ".join(map(repr, in_avals))
            raise RuntimeError(f"{op.label}({avals}): {_first_line(error)}") from error
        raise
    return tuple(aval_of(o.shape, o.dtype, place) for o in outs)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


def _raised_by_jax(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1].filename.replace("\\", "/")
    return any(f"/{package}/" in last for package in ("jax", "jaxlib", "numpy"))


class _Target(threading.local):
    platform: str = "cpu"


_target = _Target()


class lowering_for:  # noqa: N801  (reads as a verb at its uses: `with lowering_for(place)`)
    """Context in which lowerings see what they are for (`platform()`): a place, or a format."""

    __slots__ = ("before", "name")

    def __init__(self, place: Place | str) -> None:
        named = "cpu" if place == META else place
        self.name = named if isinstance(named, str) else named.platform

    def __enter__(self) -> None:
        self.before = _target.platform
        _target.platform = self.name

    def __exit__(self, *exc: object) -> None:
        _target.platform = self.before


def platform() -> str:
    """'cpu' or 'gpu': the platform that the lowering now running is for; 'onnx' if for a file."""
    return _target.platform
