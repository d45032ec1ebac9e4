"""Ops without a rule of their own: their lowering is traced, and its primitives are translated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from funtorch.lowering.op import lowering_for
from funtorch.lowering.x64 import x64
from funtorch.onnx.writing.table import COMPLEX, PRIMITIVES, NoRule
from funtorch.onnx.writing.values import Pair, Val, static

_INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def traced(function: Callable[..., Sequence[Any]], avals: Sequence[Any]) -> Any:
    """The closed jaxpr of a lowering at these avals, whose shapes may be symbolic."""
    with x64(), lowering_for("onnx"):
        structs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
        return jax.make_jaxpr(function)(*structs)


def translate(
    g: Any, closed: Any, inputs: Sequence[Val], *, elementwise: bool = False
) -> list[Val]:
    """The outputs of a closed jaxpr on these values. Raises NoRule.

    elementwise: the jaxpr is one of single numbers, and is applied to every element.
    """
    jaxpr = closed.jaxpr
    env: dict[Any, Val] = {}

    def value(atom: Any) -> Val:
        if hasattr(atom, "val"):  # a literal
            return g.const(np.asarray(atom.val, atom.aval.dtype))  # type: ignore[no-any-return]
        return env[atom]

    env.update(zip(jaxpr.invars, inputs, strict=True))
    for var, const in zip(jaxpr.constvars, closed.consts, strict=True):
        env[var] = const if isinstance(const, Val) else constant(g, const)
    for eqn in jaxpr.eqns:
        outs = _equation(g, eqn, [value(v) for v in eqn.invars], elementwise)
        for var, out in zip(eqn.outvars, outs, strict=True):
            if not elementwise:
                settle(out, var.aval, eqn.primitive.name)
            env[var] = out
    return [value(v) for v in jaxpr.outvars]


def constant(g: Any, const: Any) -> Val:
    """An array that a lowering closed over."""
    if not hasattr(const, "dtype") and not isinstance(const, bool | int | float):
        return g.number(const)  # type: ignore[no-any-return]  # a symbolic dimension
    return g.const(np.asarray(const))  # type: ignore[no-any-return]


def settle(out: Val, aval: Any, name: str) -> None:
    """Give a value the shape it is known to have; a wrong dtype is a mistake of the rule."""
    if out.dtype != aval.dtype:
        raise AssertionError(f"the rule for {name} gives {out.dtype}, expected {aval.dtype}")
    if out.shape is None:
        out.shape = out.held = tuple(aval.shape)
    elif len(out.shape) != len(aval.shape):
        raise AssertionError(f"the rule for {name} gives {out.shape}, expected {aval.shape}")


def _equation(g: Any, eqn: Any, values: list[Val], elementwise: bool) -> Sequence[Val]:
    name = eqn.primitive.name
    # A function of JAX's own that is compiled by itself may have a rule under its name.
    found = PRIMITIVES.get(f"{name}:{eqn.params.get('name')}") or PRIMITIVES.get(name)
    if any(_complex(v.aval) for v in (*eqn.invars, *eqn.outvars)):
        found = COMPLEX.get(name)
        if _known(eqn, values):
            return _computed(g, eqn, values)
        if any(_complex(x) and not isinstance(x, Pair) for x in values):
            raise NoRule("ONNX has no complex inputs: pass torch.view_as_real of them")
    if found is not None:
        outs = found(g, eqn, *values)
        return [outs] if isinstance(outs, Val) else outs  # type: ignore[no-any-return]
    for key in _INLINED:
        inner = eqn.params.get(key)
        if inner is not None:
            closed = inner if hasattr(inner, "consts") else jax.extend.core.ClosedJaxpr(inner, ())
            return translate(g, closed, values, elementwise=elementwise)
    raise NoRule(f"its lowering uses {name!r}, which has no rule")


def _held(x: Val) -> Any:
    """The contents of a constant; None for all else."""
    if isinstance(x, Pair):
        parts = _held(x.re), _held(x.im)
        return None if any(p is None for p in parts) else parts[0] + 1j * parts[1]
    return None if x.partial else x.array


def _known(eqn: Any, values: Sequence[Val]) -> bool:
    """Is everything constant, sizes too?"""
    return (
        len(values) > 0
        and not any(key in eqn.params for key in _INLINED)
        and all(static(v.aval.shape) for v in eqn.outvars)
        and all(_held(x) is not None for x in values)
    )


def _computed(g: Any, eqn: Any, values: Sequence[Val]) -> list[Val]:
    """An equation of constants, by JAX."""
    with x64():
        given = [
            np.asarray(_held(x), v.aval.dtype) for x, v in zip(values, eqn.invars, strict=True)
        ]
        outs = eqn.primitive.bind(*given, **eqn.params)
    outs = outs if eqn.primitive.multiple_results else [outs]
    return [g.const(np.asarray(o)) for o in outs]


def _complex(aval: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(aval, "dtype", np.bool_), np.complexfloating)
