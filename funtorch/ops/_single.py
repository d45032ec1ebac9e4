"""Single precision to the last bit, for an `out=` that shows more digits.

XLA's elementary functions err by a few units in the last place where those of the C library, which
PyTorch's scalar code calls, are all but correctly rounded; and it writes quotients anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

Lowering = Callable[[Sequence[Any], Sequence[Any], Any], tuple[Any, ...]]

_COARSE = frozenset((lax.exp_p, lax.log_p, lax.sin_p, lax.cos_p, lax.tan_p, lax.sqrt_p, lax.div_p))


def correctly_rounded(lower: Lowering) -> Lowering:
    """The lowering with its functions and quotients computed in double precision, then rounded."""

    def exact(arrays: Sequence[Any], numbers: Sequence[Any], statics: Any) -> tuple[Any, ...]:
        made = jax.make_jaxpr(lambda *given: lower(given, numbers, statics))(*arrays)
        return tuple(_run(made.jaxpr, made.consts, arrays))

    return exact


def _run(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for step in jaxpr.eqns:
        given = [read(atom) for atom in step.invars]
        inner = step.params.get("jaxpr")
        if isinstance(inner, ClosedJaxpr):  # of a jitted function
            outs = _run(inner.jaxpr, inner.consts, given)
        elif step.primitive in _COARSE and step.outvars[0].aval.dtype == np.float32:
            wide = [jnp.asarray(x, jnp.float64) for x in given]
            outs = [step.primitive.bind(*wide, **step.params).astype(jnp.float32)]
        else:
            found = step.primitive.bind(*given, **step.params)
            outs = found if step.primitive.multiple_results else [found]
        values.update(zip(step.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
