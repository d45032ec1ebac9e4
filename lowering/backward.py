"""Gradients as ops: the vjp of any instance, derived by JAX from its own lowering.

The gradient of an op is an op like any other: it is recorded, compiled into the same program, and
has a gradient itself. XLA removes what it computes twice.

Complex numbers: PyTorch's gradient is the conjugate of JAX's (it points along steepest ascent), so
complex cotangents are conjugated on the way in and gradients on the way out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from funtorch.lowering.aval import Aval, aval_of
from funtorch.lowering.op import Instance, Op, instance, instance_by_uid, lowering_for
from funtorch.lowering.x64 import x64

Indices = tuple[int, ...]

_memo: dict[Any, Instance] = {}
_ops: dict[tuple[str, str], Op] = {}
_lock = threading.Lock()


def vjp_instance(inst: Instance, wrt: Indices, cotangents: Indices, saved: Indices) -> Instance:
    """The op that maps (saved inputs, cotangents) to gradients of the inputs `wrt`.

    cotangents: indices of the outputs that have one; the others count as zero. saved: indices of
    the inputs handed over; the vjp must not depend on the values of the rest.
    """
    statics = (inst.uid, wrt, cotangents, saved)
    found = _memo.get(statics)
    if found is None:
        in_avals = (
            *(inst.in_avals[i] for i in saved),
            *(inst.out_avals[i] for i in cotangents),
        )
        outs = tuple(inst.in_avals[i] for i in wrt)
        op = _derived(inst.op, "backward", _lower_vjp)
        found = _remember(statics, Instance(op, statics, inst.scalar_types, in_avals, outs))
    return found


def _lower_sum(inputs: Sequence[Any], scalars: Sequence[Any], statics: Any) -> tuple[Any, ...]:
    return (inputs[0] + inputs[1],)


_sum = Op("sum_of_gradients", _lower_sum)


def sum_instance(aval: Aval) -> Instance:
    """The op that adds two gradients of the same value."""
    return instance(_sum, None, (), (aval, aval), aval.place)


def _derived(base: Op, kind: str, lower: Callable[..., Any]) -> Op:
    return _ops.setdefault((base.name, kind), Op(f"{base.name}_{kind}", lower))


def _remember(key: Any, made: Instance) -> Instance:
    with _lock:
        return _memo.setdefault(key, made)


def _flip(x: Any) -> Any:
    return jnp.conj(x) if jnp.iscomplexobj(x) else x


def _restricted(
    inst: Instance, wrt: Indices, primals: Sequence[Any], scalars: Sequence[Any]
) -> Callable[..., tuple[Any, ...]]:
    """`inst` as a function of its inputs `wrt` alone."""

    def function(*varying: Any) -> tuple[Any, ...]:
        inputs = list(primals)
        for i, x in zip(wrt, varying, strict=True):
            inputs[i] = x
        return inst(inputs, scalars)

    return function


def _full_primals(inst: Instance, saved: Indices, given: Sequence[Any]) -> list[Any]:
    """All inputs: those given at `saved`, zeros for the rest (whose values do not matter)."""
    by_index = dict(zip(saved, given, strict=True))
    return [
        by_index[i] if i in by_index else jnp.zeros(aval.shape, aval.dtype)
        for i, aval in enumerate(inst.in_avals)
    ]


def _all_cotangents(inst: Instance, indices: Indices, given: Sequence[Any]) -> tuple[Any, ...]:
    by_index = dict(zip(indices, given, strict=True))
    out = []
    for i, aval in enumerate(inst.out_avals):
        if not jnp.issubdtype(aval.dtype, jnp.inexact):
            out.append(jnp.zeros(aval.shape, jax.dtypes.float0))
        elif i in by_index:
            out.append(_flip(by_index[i]))
        else:
            out.append(jnp.zeros(aval.shape, aval.dtype))
    return tuple(out)


def _lower_vjp(inputs: Sequence[Any], scalars: Sequence[Any], statics: Any) -> tuple[Any, ...]:
    uid, wrt, cotangents, saved = statics
    inst = instance_by_uid(uid)
    primals = _full_primals(inst, saved, inputs[: len(saved)])
    function = _restricted(inst, wrt, primals, scalars)
    _, pull = jax.vjp(function, *(primals[i] for i in wrt))
    grads = pull(_all_cotangents(inst, cotangents, inputs[len(saved) :]))
    return tuple(_flip(g) for g in grads)


def lowers_vjp(inst: Instance) -> int | None:
    """Where the static arguments of a gradient op name the instance it is derived from."""
    places: dict[Any, int] = {_lower_vjp: 0, _lower_with_residuals: 0, _lower_residual_vjp: 1}
    return places.get(inst.op.lower)


_dependencies: dict[int, tuple[frozenset[int], ...]] = {}


def vjp_dependencies(vjp: Instance) -> tuple[frozenset[int], ...]:
    """For each gradient, the inputs of the gradient op whose values it depends on.

    Read off the jaxpr, in which the op's numbers are variables (x ** 1 has a gradient of its own);
    an equation, but for calls, counts as if all its outputs needed all its inputs.
    """
    found = _dependencies.get(vjp.uid)
    if found is None:
        with x64(), lowering_for(vjp.in_avals[0].place):
            numbers = [jax.ShapeDtypeStruct((), np.dtype(kind)) for kind in vjp.scalar_types]
            jaxpr = jax.make_jaxpr(lambda arrays, ns: vjp(arrays, ns))(
                [a.struct() for a in vjp.in_avals], numbers
            ).jaxpr
        found = _dependencies[vjp.uid] = _flow(jaxpr, len(vjp.in_avals))
    return found


def _flow(jaxpr: Any, n: int) -> tuple[frozenset[int], ...]:
    """For each output of a jaxpr, which of its first `n` inputs flow into it."""
    none: frozenset[int] = frozenset()
    sources = {id(v): frozenset((i,)) for i, v in enumerate(jaxpr.invars[:n])}
    for equation in jaxpr.eqns:
        given = [sources.get(id(v), none) for v in equation.invars]
        if equation.primitive.name in ("jit", "pjit"):
            inner = _flow(equation.params["jaxpr"].jaxpr, len(given))
            flowing = [none.union(*(given[i] for i in wanted)) for wanted in inner]
        else:
            flowing = [none.union(*given)] * len(equation.outvars)
        sources.update(zip(map(id, equation.outvars), flowing, strict=True))
    return tuple(sources.get(id(v), none) for v in jaxpr.outvars)


# Ops that save what they computed ------------------------------------------------------------


def residual_instance(inst: Instance, wrt: Indices) -> Instance:
    """`inst` with the residuals of its vjp as further outputs (see `Op.residuals`)."""
    key = ("residuals", inst.uid, wrt)
    found = _memo.get(key)
    if found is None:
        place = (inst.in_avals or inst.out_avals)[0].place
        with x64(), lowering_for(place):
            scalars = [kind(1) for kind in inst.scalar_types]
            shapes = jax.eval_shape(
                lambda arrays: _lower_with_residuals(arrays, scalars, (inst.uid, wrt)),
                [a.struct() for a in inst.in_avals],
            )
        outs = tuple(aval_of(s.shape, s.dtype, place) for s in shapes)
        op = _derived(inst.op, "with_residuals", _lower_with_residuals)
        made = Instance(op, (inst.uid, wrt), inst.scalar_types, inst.in_avals, outs)
        found = _remember(key, made)
    return found


def residual_vjp_instance(inst: Instance, wrt: Indices, cotangents: Indices) -> Instance:
    """The op that maps (all inputs, residuals, cotangents) to gradients of the inputs `wrt`."""
    statics = ("residual", inst.uid, wrt, cotangents)
    found = _memo.get(statics)
    if found is None:
        residuals = residual_instance(inst, wrt).out_avals[len(inst.out_avals) :]
        cts = (inst.out_avals[i] for i in cotangents)
        outs = tuple(inst.in_avals[i] for i in wrt)
        op = _derived(inst.op, "backward_from_residuals", _lower_residual_vjp)
        avals = (*inst.in_avals, *residuals, *cts)
        found = _remember(statics, Instance(op, statics, inst.scalar_types, avals, outs))
    return found


def _linearised(
    inst: Instance, wrt: Indices, inputs: Sequence[Any], scalars: Sequence[Any]
) -> tuple[tuple[Any, ...], list[Any], list[int | None], Any]:
    """(outputs, residual arrays, for each residual the input it equals or None, structure)."""
    varying = [inputs[i] for i in wrt]
    # Which residuals there are must not depend on what the program is lowered for in the end.
    with lowering_for((inst.in_avals or inst.out_avals)[0].place):
        outs, pull = jax.vjp(_restricted(inst, wrt, inputs, scalars), *varying)
    leaves, tree = jax.tree_util.tree_flatten(pull)
    # An input handed through needs no output of its own: the backward op has it already.
    where = [next((i for i, x in enumerate(inputs) if x is leaf), None) for leaf in leaves]
    return outs, leaves, where, tree


def _lower_with_residuals(
    inputs: Sequence[Any], scalars: Sequence[Any], statics: Any
) -> tuple[Any, ...]:
    uid, wrt = statics
    outs, leaves, where, _ = _linearised(instance_by_uid(uid), wrt, inputs, scalars)
    return (*outs, *(leaf for leaf, i in zip(leaves, where, strict=True) if i is None))


def _lower_residual_vjp(
    inputs: Sequence[Any], scalars: Sequence[Any], statics: Any
) -> tuple[Any, ...]:
    _, uid, wrt, cotangents = statics
    inst = instance_by_uid(uid)
    n_inputs, n_cts = len(inst.in_avals), len(cotangents)
    given = list(inputs[n_inputs : len(inputs) - n_cts])
    primals = list(inputs[:n_inputs])
    # Tracing again gives the structure; its arithmetic is dead code, which XLA removes.
    _, _, where, tree = _linearised(inst, wrt, primals, scalars)
    source = iter(given)
    full = [primals[i] if i is not None else next(source) for i in where]
    pull = jax.tree_util.tree_unflatten(tree, full)
    grads = pull(_all_cotangents(inst, cotangents, inputs[len(inputs) - n_cts :]))
    return tuple(_flip(g) for g in grads)
